"""What the helper heads are told stands at the right tokens, and words keep their vectors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Qwen2_5_VLForConditionalGeneration

from grounding.settings import SHAPES
from tools.shapes import tokens
from tools.shapes.batches import GONE, NOTHING, UNSAID, collate, make_row
from tools.shapes.model import config, warm
from tools.shapes.names import said
from tools.shapes.scenes import NAMES

ROWS = [make_row(seed, 2) for seed in range(60)]


def before(ids: list[int], index: int) -> str:
    """Return the text up to the token that is followed by `index`."""
    text: str = tokens.tokenizer().decode(ids[:index])
    return text


def test_in_a_question_the_name_ends_where_it_is_told_who_is_asked_for() -> None:
    told = 0
    for row in ROWS:
        for k in [k for k in range(len(row.ids)) if row.asked[k] >= 0 and row.weights[k] == 0]:
            name, text = NAMES[row.asked[k]], before(list(row.ids), k)
            assert text.endswith((name, f"{name}s", said(name, "zh")))
            told += 1
    assert told > 60


def test_a_place_ends_where_it_is_told_what_is_there() -> None:
    told = 0
    for row in ROWS:
        for k in [k for k in range(len(row.ids)) if row.spots[k, 0] != UNSAID]:
            assert before(list(row.ids), k).endswith("]")
            assert row.goals[k, 0] != UNSAID
            told += 1
    assert told > 20


def test_an_answer_tells_its_things_one_after_the_other_and_then_the_end() -> None:
    for row in ROWS:
        for number in (1, 2):
            mine = (row.segments == number) & (row.weights > 0)
            items, text = row.items[mine], tokens.tokenizer().decode(row.ids[mine])
            seen = list(dict.fromkeys(items.tolist()))
            assert seen[-1] == NOTHING
            assert len(seen) - 1 == text.count('"label"')
            assert all(
                NAMES[k] in text or said(NAMES[k], "zh") in text for k in seen if k != NOTHING
            )
            assert (row.extents[mine][items == NOTHING] == UNSAID).all()


def test_names_and_items_have_the_same_rank() -> None:
    several = 0
    for row in ROWS:
        for number in (1, 2):
            mine = row.segments == number
            asked, told = mine & (row.weights == 0), mine & (row.weights > 0)
            if not (row.ranks[asked] != UNSAID).any():
                continue
            by_rank = dict(zip(row.ranks[told].tolist(), row.items[told].tolist(), strict=True))
            named = {
                rank: name
                for rank, name in zip(row.ranks[asked].tolist(), row.asked[asked], strict=True)
                if rank > 0
            }
            assert by_rank == named | {1 + len(named): NOTHING}
            several += len(named) > 1
    assert several > 10


def test_no_segment_sees_another() -> None:
    batch = collate(ROWS[:2])
    for number, row in enumerate(ROWS[:2]):
        first, second = (torch.from_numpy(row.segments == k).nonzero().flatten() for k in (1, 2))
        assert not batch.mask[number, 0][second][:, first].any()
        assert batch.mask[number, 0][second[-1], second].all()


def test_gone_is_not_unsaid() -> None:
    goals = torch.cat([torch.from_numpy(row.goals[:, 0]) for row in ROWS])
    assert {GONE, UNSAID} <= set(goals.tolist())


def test_padding_does_not_make_another_tokenizer() -> None:
    spelled = tokens.spelled()
    tokens.tokenizer()(["a", "a longer text"], padding=True)
    assert tokens.spelled() == spelled


@pytest.fixture
def other_words(tmp_path: Path) -> Path:
    """A checkpoint like the shipped one, but two of its words have changed places."""
    shutil.copytree(SHAPES, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "tokenizer.json"
    spelled = json.loads(file.read_text())
    words = spelled["model"]["vocab"]
    words["red"], words["Locate"] = words["Locate"], words["red"]
    file.write_text(json.dumps(spelled))
    return tmp_path


def test_a_warm_start_keeps_the_vector_of_each_word_wherever_it_stood(other_words: Path) -> None:
    old = Qwen2_5_VLForConditionalGeneration.from_pretrained(other_words, dtype=torch.float32)
    new = Qwen2_5_VLForConditionalGeneration(config())
    warm(new, other_words)
    was, now = (model.get_input_embeddings().weight for model in (old, new))
    places = AutoTokenizer.from_pretrained(other_words).get_vocab()
    ours = tokens.tokenizer().get_vocab()
    for word in ("red", "Locate", "Ġcircle", "7"):
        assert torch.equal(was[places[word]], now[ours[word]])
    assert torch.equal(
        old.model.visual.patch_embed.proj.weight, new.model.visual.patch_embed.proj.weight
    )
