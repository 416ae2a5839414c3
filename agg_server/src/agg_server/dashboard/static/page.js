"use strict";

// A login link has its code after "#": into the form, and out of the address.
const code = document.getElementById("code");
if (code && location.hash.length > 1) {
  code.value = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
}

// Times in the browser's own zone; the server's, in UTC, stay where a pointer rests on them.
function localize(root) {
  for (const time of root.querySelectorAll("time")) {
    time.title = time.textContent;
    time.textContent = new Date(time.dateTime).toLocaleString("sv-SE");
  }
}

// A part of the page is exchanged; what was unfolded stays so, and the keyboard stays where it was.
function exchange(part, html) {
  const open = [...part.querySelectorAll("details[open]")].map((details) => details.id);
  const focused = part.contains(document.activeElement) ? document.activeElement.closest("[id]") : null;
  part.innerHTML = html;
  localize(part);
  for (const details of part.querySelectorAll("details")) {
    details.open = open.includes(details.id);
  }
  if (focused && part.contains(document.getElementById(focused.id))) {
    const again = document.getElementById(focused.id);
    (again.querySelector("summary") || again).focus();
  }
}

// What can be copied.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const field = document.getElementById(button.dataset.copy);
    field.select();
    await navigator.clipboard.writeText(field.value);
    document.getElementById("copied").textContent = "Copied.";
  });
}

localize(document);
const live = document.getElementById("live");
if (live) {
  const FIRST = 1000, LONGEST = 60000;
  let source, pause = FIRST;
  const follow = () => {
    source = new EventSource(live.dataset.live);
    source.addEventListener("open", () => {
      pause = FIRST;
      live.textContent = "Live: this page renews itself.";
    });
    source.addEventListener("part", (event) => {
      const { id, html } = JSON.parse(event.data);
      exchange(document.getElementById(id), html);
    });
    source.addEventListener("error", () => {
      live.textContent = "Not live: the server does not answer. Trying again.";
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(again, pause);
        pause = Math.min(2 * pause, LONGEST);
      }
    });
  };
  // After any answer but 200 a browser gives up for good, and does not tell which: 401 alone is an end.
  const again = async () => {
    const asked = fetch(location.href, { method: "HEAD", cache: "no-store" });
    if (await asked.then((answer) => answer.status, () => 0) === 401) {
      live.textContent = "Not live any more: this session is over. Reload the page to log in again.";
    } else {
      follow();
    }
  };
  follow();
  addEventListener("pagehide", () => source.close());
}
