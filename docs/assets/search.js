// An option is looked for as it is written: to the search's own language a leading dash means "without".
const said = Worker.prototype.postMessage;
Worker.prototype.postMessage = function (message, ...rest) {
  const asked = message && message.type === 2 && typeof message.data === "string";
  const plain = asked ? { ...message, data: message.data.replace(/(^|\s)-+(?=\w)/g, "$1") } : message;
  return said.call(this, plain, ...rest);
};
