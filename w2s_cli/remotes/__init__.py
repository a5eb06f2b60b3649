"""Copies of finished stages between stores: a path, or a URL of any store that fsspec opens (S3, GS, the hub, …).

    address → Remote (a store by its URL)    listing → Entry (a stage there)    offers → Offer (its three JSON files, checked)
    fetch: a stage into a store on this machine    send: a stage into an object store    copying: many stages side by side
    checksums: a store's proofs of a file    hub_commits, hub_answers: a repository of the hub as a store

* A stage is complete elsewhere as it is here: `record.json` is there, and is written last. It names the manifest by its digest, and the
  manifest names every file by its own.
* Nothing finished is overwritten. The same key with another result is a conflict, which is told.
* The names and documents of a remote are data of strangers: checked before they become a path, an identity or a record.
"""
