"""A film of ten minutes costs bounded memory: the worker's, and that of its decoder."""

from __future__ import annotations

from pathlib import Path

from benchmarks.overhead.films import make, measure

WORKER_MIB = 192
"""A part of the film has 50 MiB of pixels, and eight second looks here have 65."""
DECODER_MIB = 256


def test_a_film_of_ten_minutes_takes_bounded_memory(tmp_path: Path) -> None:
    file = tmp_path / "film"
    make(file, "mp4", 600, 4)
    cost = measure(file)
    print(f"worker {cost.before:.0f} → {cost.worker:.0f} MiB, decoder {cost.decoder:.0f} MiB")
    assert cost.questions > 20
    assert cost.worker - cost.before < WORKER_MIB
    assert 0 < cost.decoder < DECODER_MIB
