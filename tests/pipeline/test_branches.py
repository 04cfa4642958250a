"""A large taxonomy is asked about level by level: every list is short, every path right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.errors import AnswerError
from grounding.geometry import PERCENT
from grounding.inference.branches import MOST_OPENED, ask_by_branches
from grounding.labelstudio.controls.base import PlannedQuery, PromptDefaults
from grounding.labelstudio.controls.fields import plan_values
from grounding.queries import MANY_PATHS, PATH_SIGN, find_branches
from grounding.qwen.answers import Answer, Note, Verdict
from grounding.qwen.queries import read_answer, write_prompt
from tests.labelstudio.configs import BOXES, area, config
from tests.pipeline.test_pipeline import CAR, InlineEngine, grounded


def choices(*names: str, inner: str = "") -> str:
    return "".join(f'<Choice value="{name}">{inner}</Choice>' for name in names)


LEAVES = [f"Leaf {n}" for n in range(40)]
ORDERS = ["Birds", "Fish", "Insects", "Trees"]
TREE = choices("Life", inner=choices(*ORDERS, inner=choices(*LEAVES)))
DEEP = choices("A", "B", inner=choices("C", "D", inner=choices(*[f"E{n}" for n in range(120)])))


def taxonomy(tree: str, attributes: str = 'leafsOnly="true" maxUsages="1"') -> str:
    return f'<Taxonomy name="kind" toName="image" {attributes}>{tree}</Taxonomy>'


def asked(engine: InlineEngine) -> list[str]:
    return [request.text for request in engine.requests]


def answer(*pairs: tuple[str, object]) -> Callable[[str], str]:
    """Return an answer to the first prompt that has each text, as one of the prompt's choices."""

    def say(prompt: str) -> str:
        value = next((value for has, value in pairs if has in prompt), None)
        return json.dumps({"kind": value})

    return say


def paths_of(result: list[dict[str, Any]]) -> list[list[str]]:
    return [path for one in result for path in one["value"].get("taxonomy", ())]


def test_a_large_tree_is_asked_for_its_branch_and_then_for_what_is_in_it() -> None:
    engine = InlineEngine(
        answer(("Leaf 7", "Life / Fish / Leaf 7"), ("Fish", "Life / Fish")), probability=-0.1
    )
    result = grounded(engine, taxonomy(TREE)).prediction["result"]
    assert paths_of(result) == [["Life", "Fish", "Leaf 7"]]
    first, second = asked(engine)
    assert [f'"Life / {order}"' in first for order in ORDERS] == [True] * 4
    assert "Leaf" not in first
    assert second.count("Life / Fish / Leaf") == 40
    assert "Birds" not in second


def test_the_score_is_that_of_the_branch_and_of_what_is_in_it() -> None:
    says = answer(("Leaf 7", "Life / Fish / Leaf 7"), ("Fish", "Life / Fish"))
    small = taxonomy(choices("Life", inner=choices("Fish", inner=choices("Leaf 7"))))
    sure, unsure = (
        grounded(InlineEngine(says, probability=p), part).prediction["score"]
        for p, part in ((-0.1, small), (-0.1, taxonomy(TREE)))
    )
    assert 0 < unsure < sure


def test_a_tree_of_more_levels_is_walked_down() -> None:
    engine = InlineEngine(answer(("E119", "B / C / E119"), ('"B / C"', "B / C"), ('"B"', "B")))
    result = grounded(engine, taxonomy(DEEP)).prediction["result"]
    assert paths_of(result) == [["B", "C", "E119"]]
    assert len(engine.requests) == 3


def test_each_of_several_branches_is_opened() -> None:
    says = answer(
        ("Fish / Leaf 7", ["Life / Fish / Leaf 7", "Life / Fish / Leaf 8"]),
        ("Trees / Leaf 7", ["Life / Trees / Leaf 0"]),
        ("Fish", ["Life / Fish", "Life / Trees"]),
    )
    engine = InlineEngine(says)
    result = grounded(engine, taxonomy(TREE, 'leafsOnly="true"')).prediction["result"]
    assert [path[1:] for path in paths_of(result)] == [
        ["Fish", "Leaf 7"],
        ["Fish", "Leaf 8"],
        ["Trees", "Leaf 0"],
    ]


@pytest.mark.parametrize(
    ("attributes", "paths"),
    [('leafsOnly="true"', []), ("", [["Life", "Fish"]])],
)
def test_a_branch_in_which_nothing_is_found_is_the_answer_where_it_may_be_chosen(
    attributes: str, paths: list[list[str]]
) -> None:
    engine = InlineEngine(answer(("Leaf 7", None), ("Fish", "Life / Fish")))
    result = grounded(engine, taxonomy(TREE, attributes)).prediction["result"]
    assert paths_of(result) == paths


@pytest.mark.parametrize("said", ["Life / Fish / Leaf 7", "fish", "Life > Fish"])
def test_a_branch_is_known_in_other_words_and_a_whole_path_is_taken_at_once(said: str) -> None:
    engine = InlineEngine(answer(("Leaf 7", "Leaf 7"), ("Fish", said)))
    result = grounded(engine, taxonomy(TREE)).prediction["result"]
    assert paths_of(result) == [["Life", "Fish", "Leaf 7"]]


def test_a_branch_with_one_leaf_is_that_leaf() -> None:
    tree = choices("Ant", inner=choices("Leg")) + choices("Bee", inner=choices(*LEAVES, *ORDERS))
    tree += choices("Cod", inner=choices(*LEAVES, *[f"Fin {n}" for n in range(20)]))
    engine = InlineEngine(answer(("Leg", "Leg"), ("Ant", "Ant")))
    assert paths_of(grounded(engine, taxonomy(tree)).prediction["result"]) == [["Ant", "Leg"]]


def test_an_unknown_branch_is_dropped_and_asked_no_further() -> None:
    engine = InlineEngine(answer(("Fish", "Rocks")))
    done = grounded(engine, taxonomy(TREE))
    assert done.prediction["result"] == []
    assert done.unknown == {"Rocks": 1}
    assert len(engine.requests) == 1


def test_other_fields_are_asked_once_and_keep_their_answers() -> None:
    def say(prompt: str) -> str:
        kind = "Life / Fish / Leaf 7" if "Leaf 7" in prompt else "Life / Fish"
        return json.dumps({"kind": kind, "note": "a fin"})

    engine = InlineEngine(say)
    part = area("note", 'model_task="fill"')
    result = grounded(engine, part, taxonomy(TREE)).prediction["result"]
    assert [one["value"] for one in result] == [
        {"text": ["a fin"]},
        {"taxonomy": [["Life", "Fish", "Leaf 7"]]},
    ]
    assert ["note" in prompt for prompt in asked(engine)] == [True, False]


def test_a_region_s_large_tree_is_asked_level_by_level() -> None:
    def say(prompt: str) -> str:
        if "JSON object" not in prompt:
            return CAR if "'Car'" in prompt else "[]"
        return answer(("Leaf 7", "Life / Fish / Leaf 7"), ("Fish", "Life / Fish"))(prompt)

    part = taxonomy(TREE, 'leafsOnly="true" perRegion="true"')
    result = grounded(InlineEngine(say), BOXES, part).prediction["result"]
    assert paths_of(result) == [["Life", "Fish", "Leaf 7"]]


def test_a_branch_that_is_said_again_is_opened_once() -> None:
    engine = InlineEngine(answer(("Leaf 7", ["Leaf 7", "Leaf 8"]), ("Fish", ["Life / Fish"] * 300)))
    done = grounded(engine, taxonomy(TREE, 'leafsOnly="true"'))
    assert [path[2] for path in paths_of(done.prediction["result"])] == ["Leaf 7", "Leaf 8"]
    assert len(engine.requests) == 2
    assert sum(done.dropped.values()) == 0
    assert done.warnings["dup_removed"] == 1


def test_a_branch_that_is_said_again_on_any_level_is_opened_once() -> None:
    says = answer(("E119", ["B / C / E7"] * 20), ('"B / C"', ["B / C"] * 20), ('"B"', ["B"] * 20))
    engine = InlineEngine(says)
    done = grounded(engine, taxonomy(DEEP, ""))
    assert paths_of(done.prediction["result"]) == [["B", "C", "E7"]]
    assert len(engine.requests) == 3
    assert sum(done.dropped.values()) <= 19


def test_a_control_opens_so_many_branches_and_counts_the_others() -> None:
    many = [f"Branch {n}" for n in range(MOST_OPENED + 8)]
    says = answer(("Leaf 2", "Leaf 2"), ("Branch", many))
    engine = InlineEngine(says)
    tree = choices(*many, inner=choices("Leaf 1", "Leaf 2", "Leaf 3"))
    done = grounded(engine, taxonomy(tree, ""))
    assert len(engine.requests) == 1 + MOST_OPENED
    assert paths_of(done.prediction["result"]) == [[one, "Leaf 2"] for one in many[:MOST_OPENED]]
    assert done.dropped == {"not_asked": 8}


@pytest.mark.parametrize(
    ("attributes", "paths"), [('leafsOnly="true"', []), ("", [["Life", "Fish"]])]
)
def test_an_unknown_word_inside_a_branch_finds_nothing_there(
    attributes: str, paths: list[list[str]]
) -> None:
    engine = InlineEngine(answer(("Leaf 7", "something else"), ("Fish", "Life / Fish")))
    done = grounded(engine, taxonomy(TREE, attributes))
    assert paths_of(done.prediction["result"]) == paths
    assert done.unknown == {"something else": 1}


def joined(tree: str, *said: tuple[str, str]) -> Answer:
    """Return the answer to a taxonomy's query; a prompt that has a text is answered so."""
    (control,) = config(taxonomy(tree, "")).controls
    (planned,) = plan_values((control,), PromptDefaults())

    def read(one: PlannedQuery) -> Answer:
        prompt = write_prompt(one.query, PERCENT, "qwen2.5")
        text = next(text for has, text in said if has in prompt)
        return read_answer(one.query, text, PERCENT, complete=True, tokens=())

    (done,) = ask_by_branches([(planned, ())], lambda some: [read(one) for one, _ in some])
    return done


BOTH = '{"kind": ["Life / Fish", "Life / Trees"]}'
GARBAGE = "the quick brown fox"


@pytest.mark.parametrize(
    ("fish", "trees", "verdict"),
    [
        ('{"kind": null}', '{"kind": null}', Verdict.FOUND),
        ('{"kind": null}', GARBAGE, Verdict.UNREADABLE),
        (GARBAGE, '{"kind": "Life / Trees / Leaf 7"}', Verdict.UNREADABLE),
        ('{"kind": "Leaf 7"}', '{"kind": "Leaf 8"}', Verdict.FOUND),
    ],
)
def test_the_verdict_is_the_worst_of_all_levels(fish: str, trees: str, verdict: Verdict) -> None:
    said = joined(TREE, ("Fish / Leaf", fish), ("Trees / Leaf", trees), ("Fish", BOTH))
    assert said.verdict is verdict
    assert (Note.UNOPENED in said.warnings) is (GARBAGE in (fish, trees))
    assert len(said.findings) == 2


def test_a_branch_that_may_not_be_chosen_and_cannot_be_read_is_an_error() -> None:
    def say(prompt: str) -> str:
        if "Trees / Leaf 7" in prompt:
            return GARBAGE
        return '{"kind": null}' if "Fish / Leaf 7" in prompt else BOTH

    with pytest.raises(AnswerError, match="unreadable"):
        grounded(InlineEngine(say), taxonomy(TREE, 'leafsOnly="true"'))


def test_the_labels_of_a_prompt_are_those_of_its_step() -> None:
    engine = InlineEngine(answer(("Leaf 7", "Leaf 7"), ("Fish", "Life / Fish")))
    part = taxonomy(TREE, 'leafsOnly="true" model_prompt="Which of {labels} is it?"')
    assert paths_of(grounded(engine, part).prediction["result"]) == [["Life", "Fish", "Leaf 7"]]
    first, second = asked(engine)
    outer = ", ".join(f"Life / {order}" for order in ORDERS)
    inner = ", ".join(f"Life / Fish / {leaf}" for leaf in LEAVES)
    assert f"Which of {outer} is it?" in first
    assert "Leaf" not in first
    assert f"Which of {inner} is it?" in second
    assert "Birds" not in second


def test_a_tree_of_a_hundred_paths_or_without_branches_is_asked_in_one_step() -> None:
    many = [f"Leaf {n}" for n in range(150)]
    for part in (taxonomy(choices(*LEAVES, *ORDERS)), taxonomy(choices(*many))):
        engine = InlineEngine(answer(("Leaf 7", "Leaf 7")))
        assert paths_of(grounded(engine, part).prediction["result"]) == [["Leaf 7"]]
        assert len(engine.requests) == 1


def test_a_tree_that_is_asked_level_by_level_has_another_model_version() -> None:
    assert config(taxonomy(TREE)).later_tags == ("Taxonomy", "Taxonomy:levels")
    assert config(taxonomy(choices(*LEAVES))).later_tags == ("Taxonomy",)


names = st.lists(st.text("abc/ ", min_size=1, max_size=4), min_size=1, max_size=3)


@settings(max_examples=25)
@given(st.lists(names.map(PATH_SIGN.join), min_size=MANY_PATHS + 1, max_size=150, unique=True))
def test_every_path_is_in_one_branch_and_there_are_fewer_branches(paths: list[str]) -> None:
    branches = find_branches(paths)
    assert not branches or 1 < len(branches) < len(paths)
    for path in paths if branches else ():
        assert any(path == one or path.startswith(one + PATH_SIGN) for one in branches)
