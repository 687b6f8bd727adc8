"""The recipes of the embedded models, from books to packed folders: what to run, in this order, and what it is made of.

    python -m albert_np.demo.recipe.train --corpus standard_ebooks.txt --books BOOKS.md --output runs/demo --hours 2
    python -m albert_np.demo.recipe.evaluate runs/demo/checkpoint-6000 --corpus standard_ebooks.txt --books BOOKS.md
    python -m albert_np.demo.recipe.pack runs/demo/checkpoint-6000 --corpus standard_ebooks.txt --books BOOKS.md
    python -m albert_np.demo.recipe.neighbours --corpus standard_ebooks.txt --books BOOKS.md --write albert_np/demo

The last one puts the figures of the sentence embeddings into the card. Each of the models for tasks is one command more, which
trains from the embedded model, judges and packs; without --pack the packed model lies in the output folder:

    python -m albert_np.demo.recipe.names --corpus … --books … --output runs/names --pack albert_np/demo/names
    python -m albert_np.demo.recipe.speech --corpus … --books … --output runs/speech --pack albert_np/demo/speech

Whoever trains a small model of their own can take its parts: corpus.py holds out whole books, words.py counts word vectors to
begin with, start.py makes heads that look at their neighbours, and counts.py is what counting gets at guessing a token.
tuned.py is what the recipes for tasks share. genre.py fine-tunes on the same books, for another task.
"""
