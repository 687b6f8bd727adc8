"""The recipe of the embedded model, from books to a packed folder: what to run, in this order, and what it is made of.

    python -m albert_np.demo.recipe.train --corpus standard_ebooks.txt --books BOOKS.md --output runs/demo --hours 2
    python -m albert_np.demo.recipe.evaluate runs/demo/checkpoint-6000 --corpus standard_ebooks.txt --books BOOKS.md
    python -m albert_np.demo.recipe.pack runs/demo/checkpoint-6000 --corpus standard_ebooks.txt --books BOOKS.md

Whoever trains a small model of their own can take its parts: corpus.py holds out whole books, words.py counts word vectors to
begin with, start.py makes heads that look at their neighbours, and counts.py is what counting gets at guessing a token.
genre.py fine-tunes on the same books.
"""
