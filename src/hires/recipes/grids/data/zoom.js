// One zoom and one place for both pictures: z is 1 where a picture fits its pane, (u, v) the part of it in the middle.

const MOST_ZOOM = 64;
const zoom = { z: 1, u: 0.5, v: 0.5 };
const held = new Map();
let pinch = null;

function panes() {
  return [...byId("compare").querySelectorAll(".pane")];
}

/** The size of a pane's picture at the present zoom, and of the pane itself. */
function geometry(pane) {
  const image = pane.querySelector("img");
  const [width, height] = [pane.clientWidth, pane.clientHeight];
  const [own, tall] = [Number(image.getAttribute("width")) || 1, Number(image.getAttribute("height")) || 1];
  const fit = Math.min(width / own, height / tall) || 1;
  return { image, width, height, fit, shown: own * fit * zoom.z, high: tall * fit * zoom.z };
}

function placePictures() {
  const all = panes();
  if (!all.length) return;
  const first = geometry(all[0]);
  zoom.z = Math.min(Math.max(zoom.z, least(first.fit)), Math.max(MOST_ZOOM / first.fit, 1));
  const { width, height, shown, high, fit } = geometry(all[0]);
  zoom.u = heldIn(zoom.u, width / shown / 2);
  zoom.v = heldIn(zoom.v, height / high / 2);
  for (const pane of all) {
    const { image, width, height, shown, high, fit } = geometry(pane);
    image.style.setProperty("width", `${shown}px`);
    image.style.setProperty("height", `${high}px`);
    image.style.setProperty("transform", `translate(${width / 2 - zoom.u * shown}px, ${height / 2 - zoom.v * high}px)`);
    image.classList.toggle("pixels", fit * zoom.z >= 2);
  }
  byId("percent").textContent = `${Math.round(100 * fit * zoom.z)} %`;
}

/** The least zoom: all of the picture, or one pixel a pixel where it is smaller than its pane. */
function least(fit) {
  return Math.min(1, 1 / fit);
}

/** A middle that leaves no empty border where the picture is larger than the pane. */
function heldIn(middle, half) {
  return half >= 0.5 ? 0.5 : Math.min(Math.max(middle, half), 1 - half);
}

/** Zooms about a point of the stage, which keeps its part of the picture. */
function zoomAt(factor, x, y) {
  const pane = panes().find((each) => inside(each, x, y)) || panes()[0];
  const box = pane.getBoundingClientRect();
  const before = geometry(pane);
  const [right, down] = [x - box.left - before.width / 2, y - box.top - before.height / 2];
  const [u, v] = [zoom.u + right / before.shown, zoom.v + down / before.high];
  zoom.z = Math.min(Math.max(zoom.z * factor, least(before.fit)), Math.max(MOST_ZOOM / before.fit, 1));
  const after = geometry(pane);
  zoom.u = u - right / after.shown;
  zoom.v = v - down / after.high;
  placePictures();
}

function inside(pane, x, y) {
  const box = pane.getBoundingClientRect();
  return x >= box.left && x < box.right && y >= box.top && y < box.bottom;
}

function zoomMiddle(factor) {
  const box = panes()[0].getBoundingClientRect();
  zoomAt(factor, box.left + box.width / 2, box.top + box.height / 2);
}

function pan(dx, dy) {
  const { shown, high } = geometry(panes()[0]);
  zoom.u -= dx / shown;
  zoom.v -= dy / high;
  placePictures();
}

function fitPictures() {
  Object.assign(zoom, { z: 1, u: 0.5, v: 0.5 });
  placePictures();
}

function onePixel() {
  zoomMiddle(1 / geometry(panes()[0]).fit / zoom.z);
}

function listenToPointers(stage) {
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 20 : 1;
    zoomAt(Math.exp(-event.deltaY * lines * 0.002), event.clientX, event.clientY);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    if (event.target.closest(".divider, button, input") || event.button) return;
    stage.setPointerCapture(event.pointerId);
    held.set(event.pointerId, [event.clientX, event.clientY]);
    pinch = null;
  });
  stage.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return;
    held.set(event.pointerId, [event.clientX, event.clientY]);
    if (held.size === 1) pan(event.clientX - before[0], event.clientY - before[1]);
    else pinched();
  });
  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => {
      held.delete(event.pointerId);
      pinch = null;
    });
  }
  stage.addEventListener("dblclick", (event) => {
    if (event.target.closest(".divider")) return;
    if (zoom.z > 1) fitPictures();
    else zoomAt(Math.max(2, 1 / geometry(panes()[0]).fit), event.clientX, event.clientY);
  });
}

/** Two fingers: their distance zooms, their middle pans. */
function pinched() {
  const [[ax, ay], [bx, by]] = [...held.values()];
  const now = { distance: Math.hypot(ax - bx, ay - by) || 1, x: (ax + bx) / 2, y: (ay + by) / 2 };
  if (pinch) {
    pan(now.x - pinch.x, now.y - pinch.y);
    zoomAt(now.distance / pinch.distance, now.x, now.y);
  }
  pinch = now;
}
