element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-act]");
  if (button) trigger("select", { act: button.dataset.act, name: button.dataset.name });
});
