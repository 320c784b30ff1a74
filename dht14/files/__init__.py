"""Files of any size: pieces under a tree of manifests, each a content record; how they are put and fetched.

`manifest`, `tree` and `address` are the format. `upload` and `download` store and fetch through a
`ContentStore`: the clients and the admin surface have one each.
"""
