// What the description says of shapes, in words.

/** Return a schema with its reference followed, and without the `null` that stands for "not given". */
export function resolved(schema, components) {
  if (schema?.$ref) return resolved(components[schema.$ref.split("/").at(-1)], components);
  const variants = schema?.anyOf?.filter(({ type }) => type !== "null");
  return variants?.length === 1 ? { ...schema, anyOf: undefined, ...resolved(variants[0], components) } : (schema ?? {});
}

/** Return the choices of a schema, or null where anything of its type will do. */
export function choicesOf(schema, components) {
  const shape = resolved(schema, components);
  if (shape.anyOf) {
    const parts = shape.anyOf.filter(({ type }) => type !== "null").map((part) => choicesOf(part, components));
    return parts.every(Boolean) ? parts.flat() : null;
  }
  return shape.enum ?? (shape.const === undefined ? null : [shape.const]);
}

/** Return the type of a schema in a few words. */
export function typeOf(schema, components) {
  const choices = choicesOf(schema, components);
  if (choices) return choices.join(" | ");
  const shape = resolved(schema, components);
  if (shape.anyOf) return shape.anyOf.map((part) => typeOf(part, components)).join(" | ");
  if (shape.type === "array") return `list of ${typeOf(shape.items ?? {}, components)}`;
  if (shape.prefixItems) return "list";
  const range = [["minimum", "from"], ["maximum", "to"], ["minLength", "of at least"], ["maxLength", "of at most"]]
    .filter(([name]) => shape[name] !== undefined)
    .map(([name, word]) => `${word} ${shape[name]}`);
  return [shape.title && shape.properties ? shape.title : (shape.format ?? shape.type ?? "anything"), ...range].join(" ");
}

/** Return [name, type, what it is] of each field of an object, or of the objects in a list. */
export function fieldsOf(schema, components) {
  const shape = resolved(schema, components);
  if (shape.type === "array") return fieldsOf(shape.items ?? {}, components);
  const required = new Set(shape.required);
  return Object.entries(shape.properties ?? {}).map(([name, field]) => [
    required.has(name) ? name : `${name}?`,
    typeOf(field, components),
    field.description ?? "",
  ]);
}
