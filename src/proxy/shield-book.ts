/** Which rules of the shield hold for a message: by mail server, listener and client. */
import { type PresetName, presetMode } from '../shield/presets.js';
import { type ShieldOverrides, type ShieldRules, shieldRules } from '../shield/rules.js';

export class ShieldBook {
  readonly #listener: ShieldOverrides | undefined;
  readonly #headerBytes: number;
  /** One for each pair is enough: a device's overrides live as long as the configuration. */
  readonly #rules = new Map<PresetName, ShieldRules>();
  readonly #ofDevices = new WeakMap<ShieldOverrides, Map<PresetName, ShieldRules>>();

  constructor(listener: ShieldOverrides | undefined, headerBytes: number) {
    this.#listener = listener;
    this.#headerBytes = headerBytes;
  }

  rules(preset: PresetName, device: ShieldOverrides | undefined): ShieldRules {
    const known = this.#mapOf(device);
    let rules = known.get(preset);
    if (rules === undefined) {
      rules = shieldRules(presetMode(preset), this.#headerBytes, [this.#listener, device]);
      known.set(preset, rules);
    }
    return rules;
  }

  #mapOf(device: ShieldOverrides | undefined): Map<PresetName, ShieldRules> {
    if (device === undefined) return this.#rules;
    let known = this.#ofDevices.get(device);
    if (known === undefined) {
      known = new Map();
      this.#ofDevices.set(device, known);
    }
    return known;
  }
}
