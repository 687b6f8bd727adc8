"""A candidate against a recording: its tensors judged op by op, and the result as text, XML and a page."""
