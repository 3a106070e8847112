// Copy buttons of the admin pages: the text of what a button's data-copy names.

for (const button of document.querySelectorAll("button[data-copy]")) {
  const said = button.textContent;
  button.addEventListener("click", async () => {
    const from = document.getElementById(button.dataset.copy);
    let done = false;
    try {
      await navigator.clipboard.writeText(from.textContent);
      done = true;
    } catch {
      // Without a secure origin there is no clipboard: select it, so that the keyboard's copy does it.
      getSelection().selectAllChildren(from);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Select and copy it";
    setTimeout(() => {
      button.textContent = said;
    }, 2000);
  });
}
