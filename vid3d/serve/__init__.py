"""VIDEOS OVER HTTP -> LABELS: a page to drop one on, and `POST /predict`. Start with `app.py`.

`server.py` listens, `app.py` has the addresses, `upload.py` takes the bytes of a request, and
`service.py` labels them within bounds, without a word of HTTP. Nothing of a request becomes a path:
an upload is a temporary file without a name, which ends with its request or with the server.
"""
