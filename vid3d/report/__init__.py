"""EVALUATION -> ONE PAGE: a self-contained HTML file with moving clips. Start with `write.py`.

`answers.py` reads what an evaluation wrote, `strips.py` makes small moving pictures of the frames
that the network saw, `page.py` puts it all together; the other files are one section each.
"""
