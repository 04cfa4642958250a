"""Trains the shapes checkpoint.

    python -m tools.shapes.train --minutes 90 --work shapes-run --out grounding/demo/shapes

The learning rate follows the clock, so that the run ends on time on any computer. An interrupted
run continues from its last save.
"""

from __future__ import annotations

import copy
import math
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import torch
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from tools.shapes import tokens
from tools.shapes.batches import Batch, Stream
from tools.shapes.evaluate import judge, probes
from tools.shapes.learner import Learner, Losses
from tools.shapes.model import save, save_state, warm

PICTURES, QUESTIONS = 24, 2
PEAK_RATE = 1.2e-3
WARM_UP = 200
LOG_EVERY, SAVE_EVERY = 50, 500
EVALUATED = 40


@dataclass(slots=True)
class Run:
    """A run in progress: the learner, steps and seconds so far, and smoothed losses."""

    learner: Learner
    optimizer: torch.optim.Optimizer
    minutes: float
    peak: float = PEAK_RATE
    helped: bool = True
    step: int = 0
    seconds: float = 0.0
    smooth: torch.Tensor = field(default_factory=lambda: torch.zeros(len(Losses.__slots__)))

    @property
    def share(self) -> float:
        """Share of the time that is spent, 0 to 1."""
        return min(1.0, self.seconds / (60 * self.minutes))

    def rate(self) -> float:
        """Return the learning rate now: a warm-up by steps, then a cosine by the clock."""
        return (
            self.peak
            * min(1.0, (self.step + 1) / WARM_UP)
            * (0.5 * (1 + math.cos(math.pi * self.share)) + 0.005)
        )

    def learn(self, batch: Batch) -> None:
        """Train on one batch."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        # A core with bfloat16 instructions multiplies three times as fast in bfloat16.
        with torch.autocast("cpu", torch.bfloat16):
            losses = self.learner(batch)
        losses.total(self.helped).backward()
        clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._note(losses.stacked())
        self.step += 1

    def _note(self, now: torch.Tensor) -> None:
        self.smooth = now if self.step == 0 else torch.lerp(self.smooth, now, 0.02)

    def line(self) -> str:
        """Return the progress on one line."""
        named = zip(Losses.__slots__, self.smooth.tolist(), strict=True)
        losses = " · ".join(f"{name} {value:.3f}" for name, value in named)
        left = self.minutes - self.seconds / 60
        return (
            f"step {self.step} · {losses} · {self.seconds / self.step:.3f} s/step · "
            f"{self.share:.0%} · {left:.0f} min left"
        )

    def store(self, path: Path) -> None:
        """Write the state that `load` reads."""
        state = {
            "tokenizer": tokens.spelled(),
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "smooth": self.smooth,
            "step": self.step,
            "seconds": self.seconds,
        }
        save_state(state, path)

    def load(self, path: Path) -> None:
        """Continue from the state that `store` wrote to `path`."""
        state = torch.load(path)
        if state["tokenizer"] != tokens.spelled():
            raise click.UsageError(f"the prompts have changed since {path} was saved: start afresh")
        self.learner.load_state_dict(state["learner"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.smooth, self.step, self.seconds = (state[k] for k in ("smooth", "step", "seconds"))

    def ship(self, folder: Path) -> None:
        """Write the checkpoint, without the helper head, into `folder`."""
        save(self.learner.model, folder)


def begin(minutes: float, start: Path | None, peak: float, *, helped: bool) -> Run:
    """Return a new run, with the weights of the checkpoint in `start` if given."""
    torch.manual_seed(0)
    learner = Learner()
    if start:
        warm(learner.model, start)
    optimizer = torch.optim.AdamW(
        learner.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    return Run(learner, optimizer, minutes, peak, helped)


def batches(first: int) -> DataLoader[Batch]:
    """Return the batches from number `first`, made by a process of lower priority."""
    stream = Stream(first, PICTURES, QUESTIONS)
    return DataLoader(
        stream, batch_size=None, num_workers=1, prefetch_factor=16, worker_init_fn=_yield_core
    )


def _yield_core(_worker: int) -> None:
    os.nice(10)
    torch.set_num_threads(1)


def evaluate(run: Run) -> str:
    """Return the current figures of the model on a few new pictures."""
    # Copied by its state, since the model in training has tensors that cannot be copied.
    trained = run.learner.model
    model = type(trained)(copy.deepcopy(trained.config)).eval()
    model.load_state_dict(trained.state_dict())
    model.set_attn_implementation("sdpa")
    return str(judge(model, tokens.tokenizer(), probes(EVALUATED)))


@click.command()
@click.option("--minutes", default=90.0, show_default=True, help="Time to spend.")
@click.option("--work", type=click.Path(path_type=Path), required=True, help="Folder of the saves.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The checkpoint.")
@click.option(
    "--start",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A checkpoint to start from; it may have another vocabulary.",
)
@click.option("--rate", default=PEAK_RATE, show_default=True, help="Highest learning rate.")
@click.option(
    "--helped/--alone",
    default=True,
    show_default=True,
    help="Train with the helper heads, which begin from random weights, or without.",
)
def main(
    *,
    minutes: float,
    work: Path,
    out: Path,
    start: Path | None,
    rate: float,
    helped: bool,
) -> None:
    """Train for MINUTES and write the checkpoint to OUT at every save and at the end."""
    torch.set_num_threads(1)
    work.mkdir(parents=True, exist_ok=True)
    run, saved = begin(minutes, start, rate, helped=helped), work / "run.pt"
    if saved.exists():
        run.load(saved)
    began = time.monotonic() - run.seconds
    for batch in batches(run.step):
        run.learn(batch)
        run.seconds = time.monotonic() - began
        if run.step % LOG_EVERY == 0:
            click.echo(run.line())
        if run.step % SAVE_EVERY == 0 or run.share >= 1:
            run.store(saved)
            run.ship(out)
            click.echo(f"EVAL {run.step} · {evaluate(run)}")
        if run.share >= 1:
            break


if __name__ == "__main__":
    main()
