"""The page: an editor for ivr.yaml and answers, a phone for a simulated call, and the calls of the site.

It is static files and JSON. The browser keeps the API's token in its own storage for this origin, and sends it with
each request in a header: a page of another origin can neither read it nor have it sent, as it could a cookie. All texts
of a call become text nodes in the browser, and the Content-Security-Policy lets no text become a script.
"""
