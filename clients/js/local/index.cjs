// For `require`: the same codec. Modules load in their own time, and so does `load`.

const module_ = () => import("./index.js");

exports.GroveCodec = {
  load: async (source, options) => (await module_()).GroveCodec.load(source, options),
};
