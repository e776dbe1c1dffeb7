"""A folder is the list of protocols: `pope` is `protocols/pope.py`.

Such a module holds `Part` with its `Config`; see `metrics.cases.CaseProtocol`. Files whose names start with
`_` are helpers. Protocols are plain: they open no file and no model, and ask nobody. What a model does not
say never counts for it: an empty answer has the worst value that a case can have of every measure.
"""
