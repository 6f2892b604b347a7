// Gradio asks an editor of pictures for its value at every event, and sends it anew each time. What was sent just now
// is not sent again: the answer of then is given, which names the file by its content.
(() => {
  "use strict";
  const KEPT_MS = 60_000, MOST = 24, sent = new Map(), send = window.fetch;

  // 53 bits of a blob's bytes (cyrb53, public domain).
  async function named(blob) {
    let a = 0xdeadbeef, b = 0x41c6ce57;
    for (const byte of new Uint8Array(await blob.arrayBuffer())) {
      a = Math.imul(a ^ byte, 2654435761);
      b = Math.imul(b ^ byte, 1597334677);
    }
    a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
    b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
    return `${blob.name} ${blob.size} ${4294967296 * (2097151 & b) + (a >>> 0)}`;
  }

  async function once(file, resource, init) {
    const name = await named(file), before = sent.get(name);
    if (before && Date.now() - before.at < KEPT_MS) {
      const told = await before.answer;
      if (told !== null) return new Response(told, { headers: { "content-type": "application/json" } });
    }
    const answer = send.call(window, resource, init);
    sent.delete(name);
    sent.set(name, { at: Date.now(), answer: answer.then((one) => (one.ok ? one.clone().text() : null), () => null) });
    if (sent.size > MOST) sent.delete(sent.keys().next().value);
    return answer;
  }

  window.fetch = function (resource, init) {
    const files = init?.body instanceof FormData && /\/upload$/.test(String(resource)) ? [...init.body.values()] : [];
    const isEdited = files.length === 1 && /^(background|composite|layer_\d+)\.png$/.test(files[0].name);
    return isEdited ? once(files[0], resource, init) : send.call(window, resource, init);
  };
})();
