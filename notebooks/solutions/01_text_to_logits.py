"""Solutions of the exercises in 01_text_to_logits.ipynb: each is its whole cell, filled in."""


# Exercise 1.1
def guess(text, number):
    encoding = tokenizer(text, return_tensors="np")
    column = np.flatnonzero(encoding["input_ids"][0] == tokenizer.mask_token_id)[0]
    logits = model(**encoding).logits[0, column]
    return tokenizer.convert_ids_to_tokens(np.argsort(-logits)[:number].tolist())


answers = guess("I do not [MASK] what you mean.", 3)
assert isinstance(answers, list), "guess returns no list yet: replace the dots"
assert answers == ["▁know", "▁understand", "▁see"], answers
assert guess("There was a knock at the [MASK] and a boy came in.", 1) == ["▁door"]
