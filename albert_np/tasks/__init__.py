"""The tasks ALBERT is fine-tuned for, a file each: its examples, its batches, and what the model's answer says.

text_classification    one text or two: a class, several labels or a number
token_classification   a class for every word
multiple_choice        the right one of some continuations
question_answering     the part of a context that answers a question
masked_lm              the pieces that fill a mask, and where they are right
data                   what they share
rows, labels           CSV, TSV, JSONL and CoNLL files to rows; labels to class numbers
metrics                how predictions are scored

Training and pipelines use these; nothing here imports either.
"""
