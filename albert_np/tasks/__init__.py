"""The tasks for which ALBERT is fine-tuned, one file for each: examples, batches, and what the model's output means.

text_classification    one text or two: a class, several labels or a number
token_classification   a class for every word
multiple_choice        the right one of some continuations
question_answering     the part of a context that answers a question
masked_lm              the pieces that fill a mask, and where they are right
data                   what they share
rows, conll, squad     from CSV, TSV, JSON, CoNLL and SQuAD files to rows, sentences and questions
labels                 from labels to class numbers
metrics                how predictions are scored

Training and pipelines use these; nothing here imports either.
"""
