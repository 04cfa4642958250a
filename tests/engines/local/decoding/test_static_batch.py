"""The static batch's parts: greedy decoding, kept probabilities, where each row ends."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig, PreTrainedTokenizerFast

from grounding.engines.detokenizer import Detokenizer
from grounding.engines.local.decoding.endings import Endings, Ends
from grounding.engines.local.decoding.static_batch import Recorder, RowEnds, greedy_config
from grounding.engines.local.encoder import TokenizedRequest
from grounding.engines.local.engine import LocalEngine
from grounding.engines.local.loading import LoadOptions
from grounding.errors import DeadlinePassed, SettingError
from grounding.testing import ask_one
from tests.engines.questions import request

ENDS = Ends(frozenset({7, 9}), pad=9)


def test_ends_are_those_of_the_generation_config_and_the_tokenizer(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    turn, text = tokenizer.eos_token_id, tokenizer.pad_token_id
    both = GenerationConfig(eos_token_id=[turn, text], pad_token_id=text)
    assert Ends.of(both, tokenizer) == Ends(frozenset({turn, text}), text)
    assert Ends.of(GenerationConfig(eos_token_id=text), tokenizer).eos == {turn, text}
    assert Ends.of(GenerationConfig(), tokenizer) == Ends(frozenset({turn}), text)


def test_a_checkpoint_without_an_end_is_refused() -> None:
    class Endless:
        eos_token_id = pad_token_id = None

    with pytest.raises(SettingError, match="no token that ends an answer"):
        Ends.of(GenerationConfig(), Endless())


@pytest.mark.parametrize(
    ("row", "budget", "ids", "complete"),
    [
        ([1, 2, 7, 9, 9], 5, [1, 2], True),
        ([1, 2, 9], 5, [1, 2], True),
        ([7], 5, [], True),
        ([1, 2, 3], 3, [1, 2, 3], False),
        ([1, 2, 3, 9, 9], 3, [1, 2, 3], False),  # fills behind the budget: no end of its own
        ([1, 2, 7], 3, [1, 2], True),  # the end is the last token that fits
    ],
)
def test_a_row_is_cut_at_its_end_or_its_budget(
    row: list[int], budget: int, ids: list[int], complete: bool
) -> None:
    assert ENDS.cut(row, budget) == (ids, complete)


def test_greedy_asks_for_nothing_but_the_likeliest_token() -> None:
    config = greedy_config(ENDS, max_new_tokens=50, repetition_penalty=1.0)
    assert not config.do_sample
    assert config.num_beams == 1
    assert config.repetition_penalty == 1.0
    assert config.max_new_tokens == 50
    assert (config.eos_token_id, config.pad_token_id) == ([7, 9], 9)
    assert config.temperature is config.top_k is config.top_p is None


def test_the_recorder_keeps_the_log_probability_of_the_likeliest_and_changes_nothing() -> None:
    recorder = Recorder()
    steps = [torch.tensor([[1.0, 3.0, 2.0], [0.0, 0.0, 0.0]]), torch.randn(2, 3)]
    for scores in steps:
        assert recorder(torch.zeros(2, 1), scores) is scores
    expected = torch.stack([torch.log_softmax(s, -1).max(-1).values for s in steps], dim=1)
    assert torch.allclose(torch.tensor(recorder.rows()), expected, atol=1e-6)
    assert recorder.rows()[1][0] == pytest.approx(math.log(1 / 3))


def rows(*budgets: int, stop: tuple[str, ...] = ()) -> list[TokenizedRequest]:
    return [TokenizedRequest([1], (), budget, stop=stop) for budget in budgets]


def test_each_row_ends_at_its_own_budget_or_once_it_is_evicted(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    batch, evicted = rows(1, 3, 2), set[TokenizedRequest]()
    ends = RowEnds(batch, evicted, Endings(ENDS, Detokenizer(tokenizer)), torch.device("cpu"))
    assert ends(torch.zeros(3, 11), None).tolist() == [True, False, False]
    evicted.add(batch[1])
    assert ends(torch.zeros(3, 12), None).tolist() == [True, True, True]


def test_a_row_ends_at_a_stop_text_that_several_tokens_make(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    ids = tokenizer.encode("红框]\n!")
    batch = [*rows(50, stop=("]\n", "框!")), *rows(50)]
    ends = RowEnds(batch, (), Endings(ENDS, Detokenizer(tokenizer)), torch.device("cpu"))
    done = [ends(torch.tensor([[i], [i]]), None).tolist() for i in ids]
    assert [one for one, _ in done] == [False] * 7 + [True, True]
    assert not any(other for _, other in done)


def test_a_row_ends_at_the_token_after_its_deadline_and_the_others_go_on(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine.load(str(tiny), LoadOptions(device="cpu", in_flight=False))
    asked = [request(2, 2, "say", budget, seed=budget) for budget in (40, 6)]
    alone = ask_one(engine, asked[1]).text
    deadline = time.monotonic() + 2
    tokens: list[float] = []
    record = Recorder.__call__

    def dawdle(self: Recorder, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        tokens.append(time.monotonic())
        if len(tokens) == 3:
            time.sleep(max(0, deadline - time.monotonic()))
        return record(self, ids, scores)

    monkeypatch.setattr(Recorder, "__call__", dawdle)
    futures = engine.submit([replace(asked[0], deadline=deadline), asked[1]])
    assert isinstance(futures[0].exception(60), DeadlinePassed)
    assert futures[1].result(60).text == alone
    engine.close()
    assert len(tokens) == 6, "the batch ends with the row that is left"
