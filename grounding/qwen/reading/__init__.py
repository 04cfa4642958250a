"""How an answer is read: cut into pieces, each piece read by its kind, the finds settled.

    envelope   which part of the text is the answer: thinking and wrappers go
    pieces     that part as a row of texts, tags, fences and bracketed groups
    notation   one bracketed group, from its opening to its closing bracket, mended on the way
    records    groups with keys: JSON, Python and function calls
    tags       elements and special tokens
    lines      plain text, line by line, where nothing more structured was found
    sentences  "there are none" and "I cannot help"
    settle     numbers to boxes and points in a frame; duplicates and loops go

`values`, `vocabulary` and `finds` hold what these share. Every step is linear in the length
of the text and iterative: a model can write anything, and does.
"""
