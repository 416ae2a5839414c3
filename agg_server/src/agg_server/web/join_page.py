"""What a person sees who opens a join link in a browser. The secret part, after ``#``, stays in the browser."""

from html import escape

from fedit_shared.installing import INSTALL_CLIENT

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>Join {name}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }}
pre {{ background: #8882; padding: .75rem; border-radius: .4rem; overflow-x: auto; }}
:root {{ color-scheme: light dark; }}
</style>
</head>
<body>
<h1>You are invited to {name}</h1>
<p>Its participants tune a language model together. Your data stays on your machine; the server learns only the sum of
everybody's updates.</p>
<p>This link is for a command in a terminal, not for the browser:</p>
<ol>
<li>Install the client, in a clone of fedit's repository (whoever invited you knows where it is):
<pre>{install}</pre></li>
<li>Copy the link from the message that it came in, and paste it in quotes: <pre>fedit-client join "https://…"</pre></li>
</ol>
<p>Did the browser warn of this page, and did you go on? The command would have known whether it speaks with the right
server; the browser does not, and somebody in between may have read the link. Ask whoever invited you for another
one.</p>
<p>Before anything starts, the client shows what will leave your machine and what will not.</p>
</body>
</html>
"""


def join_page(federation_name: str) -> str:
    """The page."""
    return _PAGE.format(name=escape(federation_name), install=escape(INSTALL_CLIENT))
