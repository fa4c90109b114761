"""Checks on a partitioned data set, before any time goes into training on it.

`facts` reads every file once into a table, `duplicates`, `drift` and `classes` draw figures from it, `checks` says
what is promised about them, `expectations` has Great Expectations evaluate that, and `run` puts them in order.
`result` is what came of it, `page` and its helpers show it to people.
"""
