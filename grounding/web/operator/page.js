// Brings the page up to date in place. Without this script, the browser loads it again by itself.
"use strict";
(function () {
  const main = document.querySelector("main");
  const seconds = Number(main.dataset.seconds);
  const status = document.querySelector("#connection");
  if (!seconds) return; // a question waits for its answer

  function isUsed(section) {
    // Who selects text or tabs through the links must not lose the place.
    const selected = document.getSelection();
    const isSelected = !selected.isCollapsed && section.contains(selected.anchorNode);
    return isSelected || section.contains(document.activeElement);
  }

  function put(text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const open = new Set([...main.querySelectorAll("details[open]")].map((one) => one.id));
    fresh.querySelectorAll("details").forEach((one) => { one.open = open.has(one.id); });
    // What is as before stays, so that pictures do not flicker.
    fresh.querySelectorAll("main > section").forEach((section) => {
      const old = document.getElementById(section.id);
      if (old && !isUsed(old) && old.innerHTML !== section.innerHTML) old.replaceWith(section);
    });
    document.title = fresh.title;
  }

  async function refresh() {
    if (document.hidden) return;
    try {
      const signal = AbortSignal.timeout(3000 * seconds);
      const answer = await fetch(`./${location.search}`, { headers: { Accept: "text/html" }, cache: "no-store", signal });
      if (!answer.ok) throw new Error(answer.status);
      put(await answer.text());
      status.textContent = "";
    } catch (error) {
      status.textContent = "The server does not answer: what is shown is from before.";
    }
  }

  // A server that is slow gets the next request after its answer, and never two at once.
  function wait() {
    setTimeout(() => refresh().finally(wait), 1000 * seconds);
  }

  wait();
})();
