"""Files, whatever is in them: JSON with limits, writing whole or not at all, folders and repositories of the hub.

Here belongs what is true of any file. What a checkpoint is belongs to `storage`; what a picture or a tokenizer is, to
`processing`.
"""
