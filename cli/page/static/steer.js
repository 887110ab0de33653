// What a person does to calls: make one, lead one elsewhere.
import { ask } from "./api.js";
import { fill, h, say } from "./dom.js";

// Two fields, for a context and one of its options, with those of ivr.yaml to choose from. Other ones may be typed: a call
// keeps the ivr.yaml that it has begun with. `name`: of the form, for the fields' ids.
function placeFields(name) {
  const contexts = h("datalist", { id: `${name}-contexts` });
  const options = h("datalist", { id: `${name}-options` });
  let known = [];
  const context = h("input", { id: `${name}-context`, list: contexts.id, required: true, autocomplete: "off", oninput: () => offer() });
  const option = h("input", { id: `${name}-option`, list: options.id, placeholder: "start", autocomplete: "off" });
  const offer = () => fill(options, (known.find(each => each.id === context.value)?.options ?? []).map(value => h("option", { value })));
  ask("/page/ivr").then(told => {
    known = told.contexts;
    fill(contexts, known.map(({ id, name: title }) => h("option", { value: id, label: title })));
    offer();
  }).catch(() => {});  // without ivr.yaml they are typed
  return {
    elements: [contexts, options, h("label", { for: context.id }, "Context"), context, h("label", { for: option.id }, "Option"), option],
    place: () => ({ context: context.value.trim(), option: option.value.trim() || "start" }),
  };
}

function form(title, elements, verb, work) {
  const folded = h("details", { class: "steer" }, h("summary", {}, title), h("form", {
    onsubmit: async event => {
      event.preventDefault();
      const button = event.target.querySelector("button.primary");
      button.disabled = true;
      try {
        say(await work(), "good");
        folded.open = false;
      } catch (error) {
        say(error.message, "bad");
      } finally {
        button.disabled = false;
      }
    },
  }, elements, h("button", { class: "primary" }, verb)));
  return folded;
}

// Lead the call at this path of the API elsewhere.
export function jumpForm(path) {
  const { elements, place } = placeFields("jump");
  return form("Jump", elements, "Jump", async () => {
    const to = place();
    await ask(`${path}/jump`, to);
    return `The call goes on at ${to.context}: ${to.option}.`;
  });
}

// Call a number; whoever answers enters the context.
export function dialForm() {
  const { elements, place } = placeFields("dial");
  const number = h("input", { id: "dial-number", type: "tel", required: true, autocomplete: "off" });
  const ivr = h("input", { id: "dial-ivr", autocomplete: "off", placeholder: "of the context" });
  const fields = [h("label", { for: number.id }, "Number"), number, ...elements, h("label", { for: ivr.id }, "IVR"), ivr];
  return form("Call a number", fields, "Call", async () => {
    const whose = ivr.value.trim() ? { ivr: ivr.value.trim() } : {};
    const call = await ask("/v1/calls", { to: number.value.trim(), ...place(), ...whose });
    location.hash = `#/calls/${encodeURIComponent(call.call_id)}`;
    return `${number.value.trim()} rings.`;
  });
}

export async function hangUp(path) {
  try {
    await ask(path, undefined, "DELETE");
    say("The call ends.", "good");
  } catch (error) {
    say(error.message, "bad");
  }
}
