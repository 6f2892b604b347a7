const list = element.querySelector(".list");
let shown = "";

async function draw(stop = "") {
  try {
    const html = await server.downloads({ stop });
    if (html !== shown) list.innerHTML = shown = html;
  } catch { /* the server is away: asked again soon */ }
}

element.addEventListener("click", (event) => {
  const button = event.target.closest("[data-stop]");
  if (button) draw(button.dataset.stop);
});
const timer = setInterval(() => {
  if (!element.isConnected) clearInterval(timer);
  else if (!document.hidden && element.offsetParent) draw();
}, 1000);
draw();
