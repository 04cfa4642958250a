"""A model's word names one of the project's labels, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.labelstudio.config.interface import Label
from grounding.labelstudio.labels import find_named, group_same_spelling, match


def labels(*values: str) -> list[Label]:
    return [Label(value) for value in values]


FOLDED = [
    ("Car", "Car"),
    ("car", "Car"),
    ("CAR.", "Car"),
    (" car ", "Car"),
    ('"car",', "Car"),
    ("cars", "Car"),
    ("Cars!", "Car"),
    ("traffic_light", "Traffic Light"),
    ("traffic-lights", "Traffic Light"),
    ("TrafficLight", "Traffic Light"),
    ("traffic light", "traffic_lights"),
    ("firetruck", "fire truck"),
    ("buses", "Bus"),
    ("bus", "Buses"),
    ("berries", "berry"),
    ("boxes", "box"),
    ("churches", "church"),
    ("people", "Person"),
    ("firemen", "fireman"),
    ("mice", "mouse"),
    ("knives", "Knife"),
    ("children", "Child"),
    ("feet", "foot"),
    ("teeth", "tooth"),
    ("geese", "goose"),
    ("housewives", "housewife"),
    ("leaves", "leaf"),
    ("bookshelves", "bookshelf"),
    ("wolves", "wolf"),
    ("calves", "calf"),
    ("halves", "half"),
    ("loaves", "loaf"),
    ("scarves", "scarf"),
    ("hooves", "hoof"),
    ("brushes", "brush"),
    ("dresses", "dress"),
    ("tomatoes", "tomato"),
    ("TVs", "TV"),
    ("waltzes", "waltz"),
    ("5%", "5 %"),
    ("R & D", "r&d"),
    ("@home", "@Home"),
    ("a*", "A *"),
    ("1,5", "1.5"),
    ("a 5", "A5"),
    ("5 a", "5A"),
    ("horses", "Horse"),
    ("STRASSE", "Straße"),
    ("ｃａｒ", "Car"),
    ("mhz", "㎒"),
    ("e\u0301cole", "École"),
    ("АВТОМОБИЛЬ", "автомобиль"),
    ("汽车。", "汽车"),
    ("「猫」", "猫"),
    ("क्‍षेत्र", "क्षेत्र"),
    ("❤", "❤️"),
    ("C#", "c#"),
    ("a cat", "Cat"),
    ("the cats.", "Cat"),
    ("An apple", "Apple"),
]


@pytest.mark.parametrize(("word", "value"), FOLDED)
def test_a_word_in_another_spelling_names_the_same_label(word: str, value: str) -> None:
    assert match(word, labels("other", value)) == Label(value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("cat", "car"),
        ("red car", "Car"),
        ("carpet", "Car"),
        ("15", "1.5"),
        ("1 5", "15"),
        ("C", "C#"),
        ("glas", "glass"),
        ("a", "as"),
        ("the", "Theme"),
        ("a red car", "Car"),
        ("Other", "A / Other"),
        ("a 5", "5%"),
        ("5", "5%"),
        ("RD", "r&d"),
        ("home", "@home"),
        ("a", "a*"),
        ("caves", "cafe"),
        ("हाथ", "हाथी"),
        ("", "Car"),
        ("...", "?"),
        ("\x00", "-"),
        ("-" * 398 + "Car", "Car"),
    ],
)
def test_another_word_names_no_label(word: str, value: str) -> None:
    assert match(word, labels(value)) is None


def test_a_word_of_400_characters_may_still_name_a_label() -> None:
    assert match("-" * 397 + "Car", labels("Car")) == Label("Car")


@pytest.mark.parametrize(
    ("word", "choice", "expected"),
    [
        ("Car", labels("Car", "car"), "Car"),
        ("CAR", labels("Car", "car"), None),
        ("glasses", labels("Glass", "Glasses"), "Glasses"),
        ("dog", [Label("Hund", predicted_values=("dog", "puppy"))], "Hund"),
        ("Puppies", [Label("Hund", predicted_values=("dog", "puppy"))], "Hund"),
        ("dog", [Label("Hund", predicted_values=("dog",)), Label("dog")], "dog"),
        (
            "dog",
            [Label("A", predicted_values=("dog",)), Label("B", predicted_values=("dog",))],
            None,
        ),
        ("d", [Label("Dog", alias="d")], "d"),
        ("Dog", [Label("Dog", alias="d")], "d"),
        ("D.", [Label("Dog", alias="d")], "d"),
        ("truck", [Label("LKW", description="lorry, truck or van")], "LKW"),
        ("Vans", [Label("LKW", description="lorry, truck or van")], "LKW"),
        ("truck", [Label("Car", description="any vehicle that is not a truck")], None),
        ("van", [Label("A", description="van"), Label("B", description="bus, van")], None),
    ],
)
def test_the_closest_kind_of_name_decides(
    word: str, choice: list[Label], expected: str | None
) -> None:
    found = match(word, choice)
    assert (found and found.emitted) == expected


WORDS = st.text(max_size=12) | st.sampled_from([word for word, _ in FOLDED])
LABELS = st.lists(
    st.builds(
        Label,
        WORDS.filter(str.strip),
        st.none() | WORDS,
        st.lists(WORDS, max_size=2).map(tuple),
        st.none() | WORDS,
    ),
    max_size=6,
)


@given(word=WORDS, choice=LABELS)
def test_a_word_names_only_a_label_of_the_list(word: str, choice: list[Label]) -> None:
    assert match(word, choice) in [None, *choice]


@given(choice=LABELS)
def test_a_label_s_own_name_names_it_unless_another_label_has_the_name_too(
    choice: list[Label],
) -> None:
    for label in choice:
        owners = {x.emitted for x in choice if label.emitted in (x.value, x.alias)}
        found = match(label.emitted, choice)
        assert (found.emitted if found else None) == (label.emitted if len(owners) == 1 else None)


@given(word=WORDS, choice=LABELS)
def test_the_order_of_the_labels_does_not_matter(word: str, choice: list[Label]) -> None:
    there, back = match(word, choice), match(word, choice[::-1])
    assert (there and there.emitted) == (back and back.emitted)


@pytest.mark.parametrize(
    ("phrase", "values", "expected"),
    [
        ("the red car", ["Car", "Dog"], ["Car"]),
        ("all cars and the dogs", ["Car", "Dog", "Cat"], ["Car", "Dog"]),
        ("two horses", ["Horse"], ["Horse"]),
        ("scarf, carpet", ["Car"], []),
        ("fire-truck on the left", ["Truck", "Fire truck"], ["Fire truck"]),
        ("a fire truck and a truck", ["Truck", "Fire truck"], ["Truck", "Fire truck"]),
        ("找出所有的猫", ["猫", "狗"], ["猫"]),
        ("左边的熊猫", ["猫", "熊猫"], ["熊猫"]),
        ("ネコを探して", ["ネコ"], ["ネコ"]),
        ("左边的 熊 猫", ["熊猫"], ["熊猫"]),
        ("左边的熊 猫", ["大 熊猫", "熊 猫"], ["熊 猫"]),
        ("find c1", ["C1", "c1"], ["c1"]),
        ("find C1", ["C1", "c1", "C-1"], ["C1"]),
        ("C1 and c1", ["C1", "c1", "C-1"], ["C1", "c1"]),
        ("fire  truck", ["Fire-Truck", "fire_truck"], ["Fire-Truck", "fire_truck"]),
        ("find c1 and the dogs", ["C1", "c1", "Dog"], ["c1", "Dog"]),
        ("something", ["Car", "Dog"], []),
        ("", ["Car"], []),
        ("|", ["|"], ["|"]),
    ],
)
def test_a_phrase_names_the_labels_among_its_words(
    phrase: str, values: list[str], expected: list[str]
) -> None:
    assert [label.value for label in find_named(phrase, labels(*values))] == expected


@pytest.mark.parametrize("phrase", ["fine, 两只 ＣＡＲＳ", "左边的熊 猫", "a ﬁre truck."])
def test_a_name_stands_where_the_phrase_has_it(phrase: str) -> None:
    """What names a label is told by its range in the phrase, in any spelling."""
    asked: list[str] = []

    def reject(text: str, start: int, end: int) -> bool:
        asked.append(text[start:end])
        return True

    assert find_named(phrase, labels("car", "熊猫", "fire truck"), reject) == ()
    assert asked[:1]
    assert asked[0] in ("ＣＡＲＳ", "熊 猫", "ﬁre truck")


def test_the_longest_name_wins_whatever_the_aliases() -> None:
    cat, panda = Label("猫", alias="domestic cat"), Label("熊猫", alias="p")
    assert find_named("左边的熊猫", [cat, panda]) == (panda,)


def test_a_phrase_may_contain_the_words_that_the_prompt_names() -> None:
    assert find_named("a truck", [Label("LKW", predicted_values=("truck",))])


@given(phrase=st.text(), choice=LABELS)
def test_a_phrase_names_only_labels_of_the_list(phrase: str, choice: list[Label]) -> None:
    assert set(find_named(phrase, choice)) <= set(choice)


@pytest.mark.parametrize(
    ("values", "groups"),
    [
        (["Car", "car ", "Dog"], [["Car", "car "]]),
        (["a-b", "Dog", "AB", "dog", "a b"], [["a-b", "AB", "a b"], ["Dog", "dog"]]),
        (["Car", "Cars"], []),
        (["?", "!"], []),
        ([], []),
    ],
)
def test_labels_that_differ_in_case_spacing_or_punctuation_only_are_grouped(
    values: list[str], groups: list[list[str]]
) -> None:
    found = group_same_spelling(labels(*values))
    assert [[label.value for label in group] for group in found] == groups
