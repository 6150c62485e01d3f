// The API of this service, from its own OpenAPI document, to read and to try. Needs no other host.

import { element } from "./elements.js";
import { operationSection } from "./operation.js";

const about = document.getElementById("about");
const key = document.getElementById("key");

async function show() {
  const reply = await fetch("openapi.json");
  if (!reply.ok) throw new Error(`status ${reply.status}`);
  const description = await reply.json();
  const { info, paths, components } = description;
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method, operation, components: components.schemas })),
  );
  const tags = [...new Set(operations.map(({ operation }) => operation.tags?.[0] ?? "other"))];
  for (const tag of tags) {
    const own = operations.filter(({ operation }) => (operation.tags?.[0] ?? "other") === tag);
    const sections = own.map((one) => operationSection(one, () => key.value.trim()));
    document.getElementById("operations").append(element("h2", {}, tag), ...sections);
    const links = own.map(({ path, method, operation }) =>
      element("li", {}, element("a", { href: `${location.pathname}#${operation.operationId}` }, `${method} ${path}`)),
    );
    document.getElementById("contents").append(element("h2", {}, tag), element("ul", {}, ...links));
  }
  about.textContent = `${info.title} ${info.version}. ${info.description}`;
  // The section that the address names was not there when the page was.
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

key.addEventListener("input", () => document.querySelectorAll("form").forEach((form) => form.dispatchEvent(new Event("input"))));
show().catch((error) => {
  about.className = "bad";
  about.textContent = `The description could not be read: ${error.message}.`;
});
