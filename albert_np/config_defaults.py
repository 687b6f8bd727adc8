"""Fields of config.json that change nothing here, and what transformers takes their values to be when they are left out."""

from __future__ import annotations

from typing import Any

# What transformers 4.57.6 and 5.x also write for an encoder, with the defaults they share. They change nothing here.
PASSIVE_DEFAULTS: dict[str, Any] = {
    "torchscript": False,
    "is_encoder_decoder": False,
    "is_decoder": False,
    "add_cross_attention": False,
    "cross_attention_hidden_size": None,
    "tie_encoder_decoder": False,
    "finetuning_task": None,
    "task_specific_params": None,
    "tokenizer_class": None,
    "prefix": None,
    "sep_token_id": None,
    "decoder_start_token_id": None,
    "transformers_version": None,
    "dtype": None,
    "_name_or_path": "",
    "tf_legacy_loss": False,
    "use_bfloat16": False,
    # text generation, which an encoder never does
    "max_length": 20,
    "min_length": 0,
    "do_sample": False,
    "early_stopping": False,
    "num_beams": 1,
    "num_beam_groups": 1,
    "diversity_penalty": 0.0,
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "bad_words_ids": None,
    "num_return_sequences": 1,
    "output_scores": False,
    "return_dict_in_generate": False,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "remove_invalid_values": False,
    "exponential_decay_length_penalty": None,
    "suppress_tokens": None,
    "begin_suppress_tokens": None,
}

# what transformers leaves out of the config.json of any architecture
COMMON_DEFAULTS: dict[str, Any] = PASSIVE_DEFAULTS | {
    "return_dict": True,
    "output_hidden_states": False,
    "output_attentions": False,
    "pruned_heads": {},
    "tie_word_embeddings": True,
    "chunk_size_feed_forward": 0,
    "architectures": None,
    "id2label": {0: "LABEL_0", 1: "LABEL_1"},
    "label2id": {"LABEL_0": 0, "LABEL_1": 1},
    "problem_type": None,
    "bos_token_id": None,
    "pad_token_id": None,
    "eos_token_id": None,
}
