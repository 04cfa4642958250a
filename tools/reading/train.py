"""Trains the reading checkpoint.

    python -m tools.reading.train --minutes 47 --work reading-run --out reading-new \
        --start grounding/demo/shapes

The learning rate follows the clock, so that the run ends on time on any computer. An interrupted
run continues from its last save.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import torch
from torch.nn.utils import clip_grad_norm_

from tools.reading.batches import LOOKED_AT, SHARES, Batch, Stream, collate
from tools.reading.learner import Learner, Losses
from tools.reading.model import save, warm
from tools.reading.rows import make_row
from tools.shapes.model import save_state

PICTURES, FILMS = 24, 9
"""Pages of a batch, and films of one."""
MATRIX_RATE, OTHER_RATE = 0.01, 1.5e-3
WARM_UP = 60
LOOKING = 0.2
"""The first share of the time, in which the vision tower alone learns to tell characters."""
HEADS_FIRST = 100
"""Steps in which a run that does not begin with looking trains the helper heads alone."""
DECAY = 0.53
"""The last share of the time, in which the learning rate falls to nothing."""
LOG_EVERY, SAVE_EVERY, TRY_EVERY = 50, 100, 600
FRESH = 10**9
"""First seed of the held-out pictures; the training uses other seeds."""


@dataclass(slots=True)
class Run:
    """A run in progress: the learner, steps and seconds so far, and smoothed losses."""

    learner: Learner
    minutes: float
    looking: float
    peak: float
    optimizers: tuple[torch.optim.Optimizer, ...]
    step: int = 0
    seconds: float = 0.0
    smooth: torch.Tensor = field(default_factory=lambda: torch.zeros(len(Losses.__slots__)))

    @property
    def share(self) -> float:
        """Share of the time that is spent, 0 to 1."""
        return min(1.0, self.seconds / (60 * self.minutes))

    @property
    def is_looking(self) -> bool:
        """Whether the vision tower still learns alone."""
        return self.share < self.looking

    def rate(self) -> float:
        """Return the share of the highest rate: a warm-up, a plain, then a fall by the clock."""
        return self.peak * min((self.step + 1) / WARM_UP, 1.0, max(0.01, (1 - self.share) / DECAY))

    def learn(self, batch: Batch) -> None:
        """Train on one batch."""
        for optimizer, peak in zip(self.optimizers, (MATRIX_RATE, OTHER_RATE), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * self.rate()
        self.learner.model.requires_grad_(self.looking > 0 or self.step >= HEADS_FIRST)
        # A core with bfloat16 instructions multiplies three times as fast in bfloat16.
        with torch.autocast("cpu", torch.bfloat16):
            losses = self.learner.look(batch) if self.is_looking else self.learner(batch)
        losses.total().backward()
        clip_grad_norm_(self.learner.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        now = losses.stacked()
        self.smooth = now if self.step == 0 else torch.lerp(self.smooth, now, 0.04)
        self.step += 1

    def line(self) -> str:
        """Return the progress on one line."""
        named = zip(Losses.__slots__, self.smooth.tolist(), strict=True)
        losses = " · ".join(f"{name} {value:.3f}" for name, value in named)
        pace = f"{self.seconds / self.step:.3f} s/step · {self.share:.0%}"
        return f"step {self.step} · {losses} · {pace}"

    def store(self, path: Path) -> None:
        """Write the state that `load` reads."""
        state = {
            "learner": self.learner.state_dict(),
            "optimizers": [one.state_dict() for one in self.optimizers],
            "smooth": self.smooth,
            "step": self.step,
            "seconds": self.seconds,
        }
        save_state(state, path)

    def load(self, path: Path) -> None:
        """Continue from the state that `store` wrote to `path`."""
        state = torch.load(path)
        self.learner.load_state_dict(state["learner"])
        for one, saved in zip(self.optimizers, state["optimizers"], strict=True):
            one.load_state_dict(saved)
        self.smooth, self.step, self.seconds = (state[k] for k in ("smooth", "step", "seconds"))


def begin(minutes: float, start: Path | None, looking: float = LOOKING, peak: float = 1.0) -> Run:
    """Return a new run, with the weights of the checkpoint in `start` if given."""
    torch.manual_seed(0)
    learner = Learner()
    if start:
        warm(learner.model, start)
    inner, outer = [], []
    for name, weights in learner.model.named_parameters():
        matrix = weights.ndim == 2 and "embed" not in name and "lm_head" not in name
        (inner if matrix else outer).append(weights)
    heads = [w for name, w in learner.named_parameters() if not name.startswith("model.")]
    optimizers = (
        torch.optim.Muon(inner, lr=MATRIX_RATE, weight_decay=0.01),
        torch.optim.AdamW(
            [*outer, *heads], lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        ),
    )
    return Run(learner, minutes, looking, peak, optimizers)


@torch.inference_mode()
def held_out(learner: Learner, count: int = 40) -> str:
    """Return the shares of whole answers and lines, places aside, that are right on new pictures.

    Each next token is chosen after the right ones before it.
    """
    figures = []
    for kind in ("lines", "receipt", "count", "single", "screen", "film"):
        batch = collate([make_row(FRESH + n, {kind: 1.0}) for n in range(count)])
        with torch.autocast("cpu", torch.bfloat16):
            hidden, _ = learner.hidden(batch, batch.ids == learner.model.config.image_token_id)
            best = learner.model.lm_head(hidden[:, :-1]).argmax(-1)
        told = batch.weights[:, 1:] > 0
        right = (best == batch.ids[:, 1:]) | ~told
        chars = told & (batch.told[:, 1:, 2] >= 0)
        figures.append(f"{kind}: tokens {(right & told).sum() / told.sum():.3f}")
        if chars.any():
            figures.append(f"characters {(right & chars).sum() / chars.sum():.3f}")
            whole = (right | ~chars).all(1)
            figures.append(f"pictures {whole.float().mean():.3f}")
        else:
            figures.append(f"pictures {right.all(1).float().mean():.3f}")
    return " · ".join(figures)


@click.command()
@click.option("--minutes", default=50.0, show_default=True, help="Time to spend.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder of the saves.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The checkpoint.")
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A checkpoint to start from; it may have another vocabulary.",
)
@click.option("--looking", default=LOOKING, show_default=True, help="Share of the time to look.")
@click.option("--peak", default=1.0, show_default=True, help="Share of the usual learning rates.")
def main(
    *, minutes: float, work: Path, out: Path, start: Path | None, looking: float, peak: float
) -> None:
    """Train for MINUTES and write the checkpoint to OUT at every save and at the end."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    run, saved = begin(minutes, start, looking, peak), work / "run.pt"
    if saved.exists():
        run.load(saved)
    began = time.monotonic() - run.seconds
    looks = iter(Stream(run.step, PICTURES, LOOKED_AT))
    asks = iter(Stream(run.step, PICTURES, SHARES, FILMS))
    while run.share < 1:
        run.learn(next(looks if run.is_looking else asks))
        run.seconds = time.monotonic() - began
        if run.step % LOG_EVERY == 0:
            click.echo(run.line())
        if run.step % SAVE_EVERY == 0 or run.share >= 1:
            run.store(saved)
            save(run.learner.model, out)
        if run.step % TRY_EVERY == 0 or run.share >= 1:
            click.echo(f"HELD OUT {run.step} · {held_out(run.learner)}")


if __name__ == "__main__":
    main()
