"""Our own answers, beside the corpus: one row is a text, what it says and the verdict.

A find is written as its numbers, a label and, where there is one, a score. The picture is 1036
by 1036 units.
"""

from __future__ import annotations

from typing import NamedTuple

from grounding.qwen.answers import Verdict

Said = tuple[tuple[float, ...], str | None] | tuple[tuple[float, ...], str | None, float]


class Row(NamedTuple):
    """An answer, what it says, and what kind of answer it is."""

    id: str
    raw: str
    said: list[Said]
    verdict: Verdict = Verdict.FOUND


NOTHING, UNREADABLE = Verdict.NOTHING, Verdict.UNREADABLE
REFUSED, TRUNCATED = Verdict.REFUSED, Verdict.TRUNCATED

A: tuple[float, ...] = (10, 20, 110, 120)
B: tuple[float, ...] = (200, 210, 300, 330)
P: tuple[float, ...] = (284, 305)
Q: tuple[float, ...] = (610, 240)
CAT: Said = (A, "cat")
DOG: Said = (B, "dog")

KEYS = [
    Row("key_bbox", '[{"bbox": [10, 20, 110, 120], "label": "cat"}]', [CAT]),
    Row("key_bounding_box", '{"bounding_box": [10, 20, 110, 120], "object": "cat"}', [CAT]),
    Row("key_case", '[{"BBox_2D": [10, 20, 110, 120], "Label": "cat"}]', [CAT]),
    Row("key_chinese", '[{"坐标": [10, 20, 110, 120], "标签": "猫"}]', [(A, "猫")]),
    Row("key_category", '[{"category": "cat", "coordinate": [10, 20, 110, 120]}]', [CAT]),
    Row("key_description", '[{"bbox": [10, 20, 110, 120], "description": "a cat"}]', [(A, None)]),
    Row("key_ranked", '[{"type": "animal", "label": "cat", "bbox": [10,20,110,120]}]', [CAT]),
    Row("key_two_boxes", '{"bbox_1": [10,20,110,120], "bbox_2": [200,210,300,330]}',
        [(A, None), (B, None)]),
    Row("key_score", '[{"bbox_2d": [10,20,110,120], "label": "cat", "score": 0.5}]',
        [(A, "cat", 0.5)]),
    Row("key_score_percent", '[{"box": [10,20,110,120], "label": "cat", "conf": "50%"}]',
        [(A, "cat", 0.5)]),
    Row("key_score_word", '[{"box": [10,20,110,120], "label": "cat", "confidence": "high"}]', [CAT]),
    Row("key_box_and_point", '[{"bbox_2d": [10,20,110,120], "point_2d": [284,305], "label": "cat"}]',
        [CAT, (P, "cat")]),
    Row("key_attribute", '[{"bbox_2d": [10,20,110,120], "label": "cat", "rgba": [1,2,3,4]}]', [CAT]),
    Row("key_unknown_attribute", '[{"bbox_2d": [10,20,110,120], "label": "cat", "foo": [1,2]}]',
        [CAT]),
    Row("key_corners", '{"label": "cat", "xmin": 10, "ymin": 20, "xmax": 110, "ymax": 120}', [CAT]),
    Row("key_corners_any_order", '{"y2": 120, "x2": 110, "y1": 20, "x1": "10", "name": "cat"}',
        [CAT]),
    Row("key_left_top", '{"box": {"left": 10, "top": 20, "right": 110, "bottom": 120}, "label": "cat"}',
        [CAT]),
    Row("key_width", '[{"x": 10, "y": 20, "w": 100, "h": 100, "label": "cat"}]', [CAT]),
    Row("key_centre", '[{"cx": 60, "cy": 70, "w": 100, "h": 100, "label": "cat"}]', [CAT]),
    Row("key_corner_points", '{"bbox": {"top_left": [10, 20], "bottom_right": {"x": 110, "y": 120}}}',
        [(A, None)]),
    Row("key_pairs_in_box", '[{"bbox_2d": [[10, 20], [110, 120]], "label": "cat"}]', [CAT]),
    Row("key_pairs_in_points", '[{"points": [[284, 305], [610, 240]], "label": "cat"}]',
        [(P, "cat"), (Q, "cat")]),
    Row("key_string_box", '[{"bbox_2d": "[10, 20, 110, 120]", "label": "cat"}]', [CAT]),
    Row("key_string_pairs", '[{"bbox_2d": "(10,20),(110,120)", "label": "cat"}]', [CAT]),
    Row("key_string_spaces", '[{"bbox_2d": "10 20 110 120", "label": "cat"}]', [CAT]),
    Row("key_pixels", '[{"bbox_2d": ["10px", "20px", "110px", "120px"], "label": "cat"}]', [CAT]),
    Row("key_angles", '{"person1": {"bbox": "<10><20><110><120>", "keypoints": {"nose": " <284> <305> ",'
        ' "left eye": "unvisible"}}}', [(A, "person1"), (P, "nose")]),
]  # fmt: skip

LABELS = [
    Row("label_empty", '[{"bbox_2d": [10, 20, 110, 120], "label": ""}]', [(A, None)]),
    Row("label_list", '[{"bbox_2d": [10, 20, 110, 120], "label": ["cat"]}]', [CAT]),
    Row("label_tongues", '[{"bbox_2d": [10,20,110,120], "label": {"zh": "猫", "en": "cat"}}]', [CAT]),
    Row("label_tongue_keys", '[{"label_zh": "猫", "label_en": "cat", "bbox": [10,20,110,120]}]', [CAT]),
    Row("label_no_english", '[{"bbox": [10,20,110,120], "name": {"zh": "猫", "ja": "ねこ"}}]',
        [(A, "猫")]),
    Row("label_escaped", r'[{"bbox_2d": [10,20,110,120], "label": "the \"big\" \u732b"}]',
        [(A, 'the "big" 猫')]),
    Row("label_quotes_within", '[{"bbox_2d": [10,20,110,120], "label": "the "big" cat"}]',
        [(A, 'the "big" cat')]),
    Row("label_apostrophe", "[{'bbox_2d': [10,20,110,120], 'label': 'man's hat'}]",
        [(A, "man's hat")]),
    Row("label_keyed_records", '{"cat": [{"bbox_2d": [10,20,110,120]}], "dog": {"box": [200,210,300,330]}}',
        [CAT, DOG]),
    Row("label_keyed_single", '{"cat": [10,20,110,120], "dog": [[200,210,300,330]]}', [CAT, DOG]),
    Row("label_shared", '{"label": "cat", "instances": [{"bbox": [10,20,110,120]}, {"bbox": '
        "[200,210,300,330]}]}", [CAT, (B, "cat")]),
    Row("label_parallel", '{"labels": ["cat", "dog"], "bboxes": [[10,20,110,120], [200,210,300,330]]}',
        [CAT, DOG]),
    Row("label_in_list", '[["cat", [10,20,110,120]], ["dog", 200, 210, 300, 330]]', [CAT, DOG]),
    Row("label_not_of_the_parent", '[{"label": "car", "bbox": [10,20,110,120], "parts": [{"bbox": '
        "[200,210,300,330]}]}]", [(A, "car"), (B, None)]),
    Row("label_object_wrapper", '[{"object": {"name": "cat", "bbox": [10,20,110,120]}}]', [CAT]),
    Row("label_with_markup", '[{"bbox_2d": [10,20,110,120], "label": "```<p>[1,2]"}]',
        [(A, "```<p>[1,2]")]),
]  # fmt: skip

MENDED = [
    Row("mended_missing_comma", '[{"bbox_2d": [10,20,110,120] "label": "cat"} {"bbox_2d": '
        '[200,210,300,330], "label": "dog"}]', [CAT, DOG]),
    Row("mended_missing_brace", '[{"bbox_2d": [10,20,110,120], "label": "cat", {"bbox_2d": '
        '[200,210,300,330], "label": "dog"}]', [CAT, DOG]),
    Row("mended_stray_brace", '[{"bbox_2d": [10,20,110,120], "label": "cat"}}, {"bbox_2d": '
        '[200,210,300,330], "label": "dog"}]', [CAT, DOG]),
    Row("mended_wrong_closer", '[{"bbox_2d": [10,20,110,120), "label": "cat"}]', [CAT]),
    Row("mended_no_inner_closer", '[{"bbox_2d": [10,20,110,120, "label": "cat"}]', [], UNREADABLE),
    Row("mended_lost_opener", '{"bbox_2d": [10,20,110,120], "label": "cat"}, {"bbox_2d": '
        '[200,210,300,330], "label": "dog"}]', [CAT, DOG]),
    Row("mended_list_closed_by_fence", '```json\n[{"bbox_2d": [10,20,110,120], "label": "cat"}\n```',
        [CAT]),
    Row("mended_comments", '[ // found\n{"bbox_2d": [10,20,110,120], /* a */ "label": "cat"} # b\n]',
        [CAT]),
    Row("mended_python", "[{'bbox_2d': (10, 20, 110, 120), 'label': 'cat', 'crowd': False},]", [CAT]),
    Row("mended_curly_quotes", "[{“bbox_2d”: [10, 20, 110, 120], “label”: “cat”}]", [CAT]),
    Row("mended_dots_at_the_end", '[{"bbox_2d": [10,20,110,120], "label": "cat"}, ...]', [CAT]),
    Row("mended_escaped_whole", r'[{\"bbox_2d\": [10, 20, 110, 120], \"label\": \"cat\"}]', [CAT]),
    Row("mended_unquoted_value", "[{bbox_2d: [10, 20, 110, 120], label: cat}]", [CAT]),
    Row("mended_raw_tab", '[{"bbox_2d":\t[10,20,\n110,120],\r\n"label":"cat"}]', [CAT]),
    Row("mended_signs", '[{"bbox_2d": [+10, 2e1, 110., 1.2E2], "label": "cat"}]', [CAT]),
]  # fmt: skip

BAD_NUMBERS = [
    Row("bad_three", '[{"bbox_2d": [10, 20, 110], "label": "cat"}]', [], UNREADABLE),
    Row("bad_five", '[{"bbox_2d": [10, 20, 110, 120, 130], "label": "cat"}]', [], UNREADABLE),
    Row("bad_nan", '[{"bbox_2d": [NaN, 20, 110, 120]}, {"bbox": [10,20,110,120]}]', [(A, None)]),
    Row("bad_infinite", '[{"bbox_2d": [-Infinity, 20, 110, 1e400], "label": "cat"}]', [], UNREADABLE),
    Row("bad_digits", f'[{{"bbox_2d": [10, 20, {"9" * 5000}, 120]}}]', [], UNREADABLE),
    Row("bad_words", '[{"bbox_2d": ["left", "top", "right", "bottom"]}]', [], UNREADABLE),
    Row("bad_flat", '[{"bbox_2d": [10, 20, 10, 120], "label": "cat"}]', [], UNREADABLE),
    Row("bad_outside", '[{"bbox_2d": [1040, 20, 1100, 120], "label": "cat"}]', [], UNREADABLE),
    Row("bad_one_of_two", '[{"bbox_2d": [10, 20, "x", 120]}, {"bbox_2d": [200,210,300,330]}]',
        [(B, None)]),
    Row("bad_point_clipped", '[{"point_2d": [284, 1100]}]', [((284, 1036), None)]),
    Row("bad_minus_zero", '[{"bbox_2d": [-0.0, 20, 110, 120]}]', [((0, 20, 110, 120), None)]),
]  # fmt: skip

WRAPPED = [
    Row("wrapped_data", '{"status": "ok", "data": {"detections": [{"bbox": [10,20,110,120], "class": '
        '"cat"}]}}', [CAT]),
    Row("wrapped_numbered", '{"object_1": {"bbox": [10,20,110,120]}, "2": {"bbox": [200,210,300,330], '
        '"label": "dog"}}', [(A, None), DOG]),
    Row("wrapped_chinese_prose", '图中的猫如下：\n```json\n[{"bbox_2d": [10, 20, 110, 120], "label": '
        '"cat"}]\n```\n以上就是检测结果。', [CAT]),
    Row("wrapped_open_fence", '```json\n[{"bbox_2d": [10, 20, 110, 120], "label": "cat"}]', [CAT]),
    Row("wrapped_tildes", '~~~\n[{"bbox_2d": [10, 20, 110, 120], "label": "cat"}]\n~~~', [CAT]),
    Row("wrapped_think_with_boxes", "<think>[[1, 2, 3, 4]] or {\"bbox\": [5, 6, 7, 8]}?</think>\n"
        '{"bbox_2d": [10,20,110,120], "label": "cat"}', [CAT]),
    Row("wrapped_thinking", "<thinking>hm (1, 2)</thinking> cat: [10, 20, 110, 120]", [CAT]),
    Row("wrapped_answer_only", '<answer>{"bbox_2d": [10,20,110,120], "label": "cat"}</answer>', [CAT]),
    Row("wrapped_two_answers", "<answer>[1,2,3,4]</answer> No. <answer>[10,20,110,120]</answer>",
        [(A, None)]),
    Row("wrapped_chat_tokens", '<|im_start|>assistant\n[{"bbox_2d": [10,20,110,120], "label": "cat"}]'
        "<|im_end|>\n<|endoftext|>", [CAT]),
    Row("wrapped_boxed", r"$\boxed{[10, 20, 110, 120]}$", [(A, None)]),
    Row("wrapped_citation", 'As in [1] and (2), see:\n{"bbox_2d": [10,20,110,120], "label": "cat"}',
        [CAT]),
    Row("wrapped_prose_pair", 'The picture (640, 480) shows:\n[{"bbox_2d": [10,20,110,120], "label": '
        '"cat"}]', [CAT]),
    Row("wrapped_coco", '{"images": [{"id": 1, "width": 640, "height": 480}], "annotations": [{"id": 1, '
        '"bbox": [10,20,110,120], "category": "cat", "area": 4}]}', [CAT]),
]  # fmt: skip

CUT = [
    Row("cut_in_string", '[{"bbox_2d": [10,20,110,120], "label": "cat"}, {"bbox_2d": [200,210,300,330],'
        ' "label": "do', [CAT], TRUNCATED),
    Row("cut_in_key", '[{"bbox_2d": [10,20,110,120], "label": "cat"}, {"bbo', [CAT], TRUNCATED),
    Row("cut_before_the_last_bracket", '[{"bbox_2d": [10,20,110,120], "label": "cat"}', [CAT],
        TRUNCATED),
    Row("cut_wrapper", '{"objects": [{"bbox_2d": [10,20,110,120], "label": "cat"}], "cou', [CAT],
        TRUNCATED),
    Row("cut_bare", "[[10, 20, 110, 120], [200, 21", [(A, None)], TRUNCATED),
    Row("cut_pair", "[(284, 305), (610, 24", [(P, None)], TRUNCATED),
    Row("cut_single_quotes", "[{'bbox_2d': [10,20,110,120], 'label': 'cat'}, {'bbox", [CAT], TRUNCATED),
    Row("cut_opening", "```json\n[", [], TRUNCATED),
    Row("cut_thinking", "<think>The cat is at [10, 20, 110, 120], so", [], TRUNCATED),
    Row("cut_answer", '<answer>[{"bbox_2d": [10,20,110,120], "label": "cat"}]', [CAT], TRUNCATED),
    Row("cut_box_token", "<|box_start|>(10,20),(110,120)<|box_end|><|box_start|>(200,2", [(A, None)],
        TRUNCATED),
    Row("cut_ref_token", "<|box_start|>(10,20),(110,120)<|box_end|><|object_ref_start|>do", [(A, None)],
        TRUNCATED),
    Row("cut_corner", "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(10,20)", [], TRUNCATED),
    Row("cut_box_tag", "<ref>cat</ref><box>(10,20),(110,120)", [CAT], TRUNCATED),
    Row("cut_points_tag", '<points x1="284" y1="305" alt="cat">cat</points><points x1="6', [(P, "cat")],
        TRUNCATED),
    Row("cut_points_text", '<points x1="284" y1="305" alt="cat">c', [(P, "cat")], TRUNCATED),
    Row("cut_call", "click(start_box='(284,30", [], TRUNCATED),
    Row("cut_tag_name", '<points x1="284" y1="305" alt="cat">cat</points>\n<poi', [(P, "cat")],
        TRUNCATED),
]  # fmt: skip

NONE = [
    Row("none_list", "[]", [], NOTHING),
    Row("none_fenced_list", "```json\n[]\n```", [], NOTHING),
    Row("none_object", "{}", [], NOTHING),
    Row("none_wrapped", '{"objects": [], "count": 0}', [], NOTHING),
    Row("none_keyed", '{"cat": [], "dog": null}', [], NOTHING),
    Row("none_null_items", '[{"bbox_2d": null, "label": "cat"}]', [], NOTHING),
    Row("none_empty_box", '[{"bbox_2d": [], "label": "cat"}]', [], NOTHING),
    Row("none_null", "null", [], NOTHING),
    Row("none_word_in_json", '{"bbox_2d": "None", "label": "cat"}', [], NOTHING),
    Row("none_flag", '{"found": false}', [], NOTHING),
    Row("none_answer_list", "<think>nobody</think><answer>[]</answer>", [], NOTHING),
    Row("none_tokens", "<|object_ref_start|>cat<|object_ref_end|><|box_start|>None<|box_end|>", [],
        NOTHING),
    Row("none_no_cats", "There are no cats in the image.", [], NOTHING),
    Row("none_not_visible", "The swan is not visible in this picture.", [], NOTHING),
    Row("none_does_not_contain", "The image does not contain any swans.", [], NOTHING),
    Row("none_no_found", "No swans were found.", [], NOTHING),
    Row("none_dont_see", "I don’t see any swans here.", [], NOTHING),
    Row("none_cannot_find", "I'm sorry, but I cannot find any swans in the image.", [], NOTHING),
    Row("none_isnt", "There isn't a swan.", [], NOTHING),
    Row("none_na", "N/A", [], NOTHING),
    Row("none_bold", "**None**", [], NOTHING),
    Row("none_zh_word", "无", [], NOTHING),
    Row("none_zh_absent", "图片中没有天鹅。", [], NOTHING),
    Row("none_zh_undetected", "未检测到任何目标。", [], NOTHING),
    Row("none_zh_not_found", "抱歉，我在图中没有找到天鹅。", [], NOTHING),
    Row("none_zh_exist", "该图像中不存在所描述的物体。", [], NOTHING),
]  # fmt: skip

REFUSALS = [
    Row("refused_assist", "I'm sorry, but I can't assist with that.", [], REFUSED),
    Row("refused_unable", "I am unable to process this request.", [], REFUSED),
    Row("refused_as_an_ai", "As an AI language model, I cannot view images.", [], REFUSED),
    Row("refused_people", "Sorry, I can't identify people in images.", [], REFUSED),
    Row("refused_cannot_see", "I can't see the image you mention.", [], REFUSED),
    Row("refused_answer", "<answer>I cannot help with identifying individuals.</answer>", [], REFUSED),
    Row("refused_zh", "对不起，我不能提供这方面的帮助。", [], REFUSED),
    Row("refused_zh_view", "作为一个人工智能，我无法查看图片。", [], REFUSED),
]  # fmt: skip

SENSELESS = [
    Row("senseless_word", "cat", [], UNREADABLE),
    Row("senseless_prose", "A cat sits on a sofa next to 3 cushions, 2 of them red.", [], UNREADABLE),
    Row("senseless_numbers", "The values are 10, 20, 110 and 120.", [], UNREADABLE),
    Row("senseless_labels", '[{"label": "cat"}, {"label": "dog"}]', [], UNREADABLE),
    Row("senseless_exclamations", "!" * 200, [], UNREADABLE),
    Row("senseless_time", "It happens from 00:03 to 00:10 [approx].", [], UNREADABLE),
    Row("senseless_answer", "<think>[10, 20, 110, 120]</think><answer>yes</answer>", [], UNREADABLE),
    Row("senseless_thousands", "There may be 1,234 cats", [], UNREADABLE),
    Row("senseless_tool", '<tool_call>{"name": "f", "arguments": {"action": "wait", "time": 2}}'
        "</tool_call>", [], UNREADABLE),
    Row("senseless_malformed_tokens", "<|box_start|>(10,20),(110<|box_end|>", [], UNREADABLE),
]  # fmt: skip

PLAIN = [
    Row("plain_no_name", "10,20,110,120", [(A, None)]),
    Row("plain_spaces", "10, 20, 110, 120 cat\n200, 210, 300, 330 dog\n", [CAT, DOG]),
    Row("plain_blanks_only", "10 20 110 120 cat", [CAT]),
    Row("plain_name_after_comma", "10,20,110,120,cat", [CAT]),
    Row("plain_fenced", "```\n10,20,110,120 cat\n200,210,300,330 dog\n```", [CAT, DOG]),
    Row("plain_intro", "Here you are:\n10,20,110,120 cat", [CAT]),
    Row("plain_bullets", "- 10,20,110,120 cat\n- 200,210,300,330 dog", [CAT, DOG]),
    Row("plain_numbered", "1. 10,20,110,120 cat\n2. 200,210,300,330 dog", [CAT, DOG]),
    Row("plain_score", "10,20,110,120,0.5 cat", [(A, "cat", 0.5)]),
    Row("plain_full_width", "10，20，110，120 猫", [(A, "猫")]),
    Row("plain_bracket_name", "[10, 20, 110, 120] cat\n[200, 210, 300, 330] dog", [CAT, DOG]),
    Row("plain_name_bracket", "cat: [10, 20, 110, 120]\ndog: [200, 210, 300, 330]", [CAT, DOG]),
    Row("plain_bold", "- **cat**: [10, 20, 110, 120]\n- **dog**: [200, 210, 300, 330]", [CAT, DOG]),
    Row("plain_one_line", "cat: [10, 20, 110, 120], dog: [200, 210, 300, 330]", [CAT, DOG]),
    Row("plain_one_name", "cat: [10, 20, 110, 120], [200, 210, 300, 330]", [CAT, (B, "cat")]),
    Row("plain_no_colon", "the cat(10,20),(110,120)", [(A, "the cat")]),
    Row("plain_colon_bare", "cat: 10, 20, 110, 120", [CAT]),
    Row("plain_stop_word", "Bounding box: [10, 20, 110, 120]", [(A, None)]),
    Row("plain_answer", "Answer: [10, 20, 110, 120]", [(A, None)]),
    Row("plain_table", "| object | box |\n|---|---|\n| cat | [10, 20, 110, 120] |", [CAT]),
    Row("plain_table_cells", "| label | x1 | y1 | x2 | y2 |\n|--|--|--|--|--|\n| cat | 10 | 20 | 110 | "
        "120 |\n| dog | 200 | 210 | 300 | 330 |", [CAT, DOG]),
    Row("plain_zh", "猫：[10, 20, 110, 120]", [(A, "猫")]),
    Row("plain_zh_sentence", "猫的坐标是[10, 20, 110, 120]。", [(A, None)]),
    Row("plain_zh_corners", "猫位于左上角(10, 20)，右下角(110, 120)。", [(A, None)]),
    Row("plain_from_to", "It spans from (10, 20) to (110, 120).", [(A, None)]),
    Row("plain_three_points", "(284, 305), (610, 240), (10, 20)", [(P, None), (Q, None), ((10, 20), None)]),
    Row("plain_tuple", "The cat is at (10, 20, 110, 120).", [(A, None)]),
    Row("plain_two_sentences", "A cat is at [10, 20, 110, 120]. A dog is at [200, 210, 300, 330].",
        [(A, None), (B, None)]),
    Row("plain_line_before_prose", "The first try was at [1, 2, 3, 4], so:\ncat: [10, 20, 110, 120]",
        [CAT]),
    Row("plain_point", "cat: (284, 305)", [(P, "cat")]),
    Row("plain_fence_list", "```python\n[[10, 20, 110, 120], [200, 210, 300, 330]]\n```",
        [(A, None), (B, None)]),
]  # fmt: skip

TAGGED = [
    Row("tag_qwen2_full", "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(10,20),(110,120)"
        "<|box_end|> and <|object_ref_start|>dog<|object_ref_end|><|box_start|>(200,210),(300,330)"
        "<|box_end|>", [CAT, DOG]),
    Row("tag_one_ref_two_boxes", "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(10,20),(110,120)"
        "<|box_end|><|box_start|>(200,210),(300,330)<|box_end|><|im_end|>", [CAT, (B, "cat")]),
    Row("tag_qwen1", "<ref>cat</ref><box>(10,20),(110,120)</box>", [CAT]),
    Row("tag_brackets", "<ref>cat</ref><box>[[10, 20, 110, 120]]</box>", [CAT]),
    Row("tag_flat", "<ref> the cat </ref><box>10 20 110 120</box>", [(A, "the cat")]),
    Row("tag_ref_bracket", "<ref>cat</ref>[10, 20, 110, 120]<ref>dog</ref>[200, 210, 300, 330]",
        [CAT, DOG]),
    Row("tag_rex_boxes", "<|object_ref_start|>cat<|object_ref_end|><|box_start|><10><20><110><120>, "
        "<200><210><300><330><|box_end|>", [CAT, (B, "cat")]),
    Row("tag_extra_two", "<|extra_0|>cat<|extra_1|><|extra_2|>(10,20),(110,120)<|extra_3|>, <|extra_0|>dog"
        "<|extra_1|><|extra_2|>(200,210),(300,330)<|extra_3|>", [CAT, DOG]),
    Row("tag_p_spaces", "<p> cat </p> [10, 20, 110, 120]", [CAT]),
    Row("tag_p_pairs", "a <p>cat</p>(10,20),(110,120) here", [CAT]),
    Row("tag_in_answer", "<think>(1,2)</think><answer><|box_start|>(10,20),(110,120)<|box_end|></answer>",
        [(A, None)]),
    Row("tag_empty", "<|box_start|><|box_end|>", [], NOTHING),
    Row("tag_points_many", '<points x1="284" y1="305" x2="610" y2="240" alt="cat">cats</points>',
        [(P, "cat"), (Q, "cat")]),
    Row("tag_points_self_closing", '<points x1="284" y1="305" alt="cat"/>', [(P, "cat")]),
    Row("tag_points_fenced", '```xml\n<points x1="284" y1="305" alt="cat">cat</points>\n```', [(P, "cat")]),
    Row("tag_points_two", "<points x='284' y='305'>cat</points>\n<points x='610' y='240'>dog</points>",
        [(P, "cat"), (Q, "dog")]),
    Row("tag_points_curly", "<points x1=“284” y1=“305” alt=“cat”>cat</points>", [(P, "cat")]),
    Row("tag_points_entity", '<points x1="284" y1="305">salt &amp; pepper</points>', [(P, "salt & pepper")]),
    Row("tag_points_quote", '<points x1="284" y1="305" alt="a > b">x</points>', [(P, "a > b")]),
    Row("tag_points_bare_many", "<points 284 305 610 240>cat</points>", [(P, "cat"), (Q, "cat")]),
    Row("tag_points_case", '<Points X1="284" Y1="305" Alt="Cat">cat</Points>', [(P, "Cat")]),
    Row("tag_points_decimal", '<point x="28.4" y="30.5" alt="cat">cat</point>', [((28.4, 30.5), "cat")]),
    Row("tag_points_prose", 'The cat: <points x1="284" y1="305" alt="cat">cat</points> sits.', [(P, "cat")]),
    Row("tag_point_content", "<point>284 305</point>", [(P, None)]),
    Row("tag_point_brackets", "<point>[[284, 305]]</point>", [(P, None)]),
    Row("tag_box_attributes", '<box x1="10" y1="20" x2="110" y2="120" label="cat"/>', [CAT]),
    Row("tag_xml_object", "<object><label>cat</label><bbox>10, 20, 110, 120</bbox></object>", [CAT]),
    Row("tag_html_classes", '<div class="chart" data-bbox="10 20 110 120"><h2 data-bbox="200 210 300 330">'
        "T</h2></div>", [(A, "chart"), (B, "h2")]),
    Row("tag_html_brackets", '<p data-bbox="[10, 20, 110, 120]">See [1, 2] and {3}</p>', [(A, "p")]),
    Row("tag_html_fenced_open", '```html\n<html><body><p data-bbox="10 20 110 120">T</p>\n```', [(A, "p")]),
    Row("tag_html_twins", '<p data-bbox="10 20 110 120">T</p><p data-bbox="10 20 110 120">T</p>',
        [(A, "p")]),
]  # fmt: skip

AGENTS = [
    Row("agent_swipe", '<tool_call>\n{"name": "mobile_use", "arguments": {"action": "swipe", "coordinate": '
        '[284, 305], "coordinate2": [610, 240]}}\n</tool_call>', [(P, "swipe"), (Q, "swipe")]),
    Row("agent_no_tag", '{"name": "computer_use", "arguments": {"action": "left_click", "coordinate": '
        "[284, 305]}}", [(P, "left_click")]),
    Row("agent_string_arguments", r'{"name": "f", "arguments": "{\"action\": \"tap\", \"coordinate\": '
        r'[284, 305]}"}', [(P, "tap")]),
    Row("agent_two_calls", '<tool_call>{"arguments": {"action": "click", "coordinate": [284, 305]}}'
        '</tool_call><tool_call>{"arguments": {"action": "type", "text": "(1, 2)"}}</tool_call>',
        [(P, "click")]),
    Row("agent_xml_call", "<tool_call><function=computer_use><parameter=action>click</parameter>"
        "<parameter=coordinate>[284, 305]</parameter></function></tool_call>", [(P, "click")]),
    Row("agent_start_box", "Thought: see [1, 2].\nAction: click(start_box='(284,305)')", [(P, "click")]),
    Row("agent_point_tag", "Action: left_double(point='<point>284 305</point>')", [(P, "left_double")]),
    Row("agent_drag", "drag(start_box='(284,305)', end_box='(610,240)')", [(P, "drag"), (Q, "drag")]),
    Row("agent_box", "Action: click(start_box='[10, 20, 110, 120]')", [(A, "click")]),
    Row("agent_positional", "pyautogui.moveTo(284, 305)", [(P, "moveTo")]),
    Row("agent_keywords", "```python\npyautogui.click(284, 305, clicks=2, button='left')\n```",
        [(P, "click")]),
    Row("agent_typing", "pyautogui.write('press (284, 305)')", [], UNREADABLE),
    Row("agent_flat", '{"action": "click", "x": 284, "y": 305}', [(P, "click")]),
    Row("agent_constructor", "Detection(label='cat', bbox=[10, 20, 110, 120])", [CAT]),
]  # fmt: skip

ROWS = [
    *KEYS, *LABELS, *MENDED, *BAD_NUMBERS, *WRAPPED, *CUT, *NONE, *REFUSALS, *SENSELESS, *PLAIN,
    *TAGGED, *AGENTS,
]  # fmt: skip
