"""The one politeness budget: what may be asked of a server group and of a source, by the whole fleet together.

`limits` says how much, `scope` is what is remembered of a group or a source, `ledger` decides, `breaker` closes a
source that fends us off, `shared` is what engines call, and a `ScopeStore` keeps it all for everybody.
"""
