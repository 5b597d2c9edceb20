// One client for each listener, from the document with which it describes itself.
const listeners = {
  read: process.env.MOA_READ_URL ?? "http://127.0.0.1:8080",
  write: process.env.MOA_WRITE_URL ?? "http://127.0.0.1:8081",
};

export default Object.entries(listeners).map(([name, url]) => ({
  input: `${url}/openapi.json`,
  output: { path: `generated/${name}`, importFileExtension: ".js" },
}));
