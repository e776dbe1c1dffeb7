"""Who writes captions: a model opened here, its language model behind a server, any server that sees frames.

All of them are `protocol.CaptionEngine`s, one file each.
"""
