"""Reads an answer in steps: tokenize, read each lexeme by its kind, normalize the matches.

    thinking      which part of the text is the answer, without thinking and wrappers
    tokenizer     splits that part into texts, tags, fences and bracketed groups
    lenient_json  parses one bracketed group, and repairs it
    records       reads groups with keys: JSON, Python and function calls
    tags          reads elements and special tokens; `elements` knows what each one means
    blocks        reads lines that are records, as in YAML, and names over places
    lines         reads other plain text line by line, where nothing more structured was found
    sentences     recognises "there are none" and refusals
    matches       converts the places to findings in a frame; removes duplicates and loops

`values` and `fields` hold what these share. Every step is iterative and linear in the length of
the text, because a model can write anything of any length.
"""
