"""A large taxonomy is asked about level by level: every list is short, every path right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grounding.queries import MANY_PATHS, PATH_SIGN, find_branches
from tests.labelstudio.configs import BOXES, area, config
from tests.test_pipeline import CAR, InlineEngine, grounded


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
