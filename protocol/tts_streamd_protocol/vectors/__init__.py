"""Golden vectors of the bus, for every language: ``replies.json``, ``accepted.json``, ``refused.json``.

* replies: what the daemon sends, bytes pinned (``hex``), and what they mean (``decoded``).
* accepted: what the libraries of clients really send (``habit`` says which); each decodes to ``decoded``.
* accepted: what the libraries of clients really send (``habit`` says which), and what each ``decoded`` means.
  ``before_hello``: sent as the first of a connection; ``max_message_bytes``: the limit, if not the default.

Rule: the files are pinned.  ``python -m tts_streamd_protocol.vectors`` writes them anew from ``tables``, and
then the difference is a change of the protocol.
"""
