"""From text to ids and back, with one idea in each module.

tokenizer       AlbertTokenizer itself: it is made from files, turns ids into text, and is saved
calls           …and is called: from text to ids
options         transformers' keywords for loading and saving
settings        its settings, some of which may change between calls
token_lookup    tokens, ids, and which of them are special
rows            from texts to rows: special tokens around them, and what a call asks for
lengths         truncation and windows
padding         brings rows to one length
row             a row, and from its tokens to characters and words and back
batch           the BatchEncoding that a call returns
text_inputs     what people may hand a tokenizer: one text or a batch
styles          whose rules cut a text into pieces: "hf_slow", "google", "hf_fast"; and BERT's, "wordpiece"
piece_encoder   the first two, through SentencePiece
fast            the others, through `tokenizers`
tokenizer_json  the file that it runs: made from spiece.model, and the way back
wordpiece       the tokenizer of Chinese ALBERT: BERT's
vocab_txt       its vocabulary: a vocab.txt, or a tokenizer.json of that kind
spiece          a spiece.model, checked before SentencePiece sees it
charsmap        the trie of replacements inside it
vocabulary      pieces and added tokens: from text to id, and from id to text
alignment       from which character of the caller's string a normalised character comes
adding          tokens that are added later, and special tokens that are named anew
added_tokens    tokens that are found in a text before it is cut into pieces
decoding        from pieces to text
files           tokenizer_config.json and the files beside it
"""
