/** main.cf, or what `postconf -n` printed: parameters with their places, and `$name` expanded. */
import type { Origin } from './site.js';

export interface Parameter {
  readonly value: string;
  readonly origin: Origin;
}

/** What Postfix takes where main.cf says nothing, as far as it matters here (postconf(5)). */
const DEFAULTS: Readonly<Record<string, string>> = {
  mydestination: '$myhostname, localhost.$mydomain, localhost',
  relay_domains: '',
  mynetworks_style: 'host',
  parent_domain_matches_subdomains:
    'debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,qmqpd_authorized_clients,relay_domains,smtpd_access_maps',
  smtpd_relay_restrictions: 'permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination',
  smtpd_recipient_restrictions: '',
  smtpd_client_restrictions: '',
  smtpd_sender_restrictions: '',
  virtual_alias_domains: '$virtual_alias_maps',
  virtual_alias_maps: '',
  virtual_mailbox_domains: '',
};

export class PostfixConfig {
  readonly #own = new Map<string, Parameter>();
  readonly #file: string;

  constructor(file: string, text: string) {
    this.#file = file;
    let current: { name: string; value: string; line: number; text: string } | undefined;
    const end = (): void => {
      if (current !== undefined)
        this.#own.set(current.name, {
          value: current.value.trim(),
          origin: { file, line: current.line, text: current.text },
        });
      current = undefined;
    };
    for (const [index, raw] of text.split('\n').entries()) {
      const line = raw.replace(/\r$/, '');
      if (/^\s*(?:#|$)/.test(line)) continue;
      if (/^\s/.test(line)) {
        if (current !== undefined) current.value += ` ${line.trim()}`;
        continue;
      }
      end();
      const match = /^([\w]+)\s*=\s*(.*)$/.exec(line);
      if (match !== null)
        current = { name: match[1] ?? '', value: match[2] ?? '', line: index + 1, text: line.trim() };
    }
    end();
  }

  /** As it stands, the default where it does not. */
  parameter(name: string): Parameter {
    return (
      this.#own.get(name) ?? {
        value: DEFAULTS[name] ?? '',
        origin: { file: this.#file, line: 1, text: `${name} = ${DEFAULTS[name] ?? ''} (the default)` },
      }
    );
  }

  has(name: string): boolean {
    return this.#own.has(name);
  }

  /** `$name`, `${name}` and `$(name)` filled in; what is not known becomes empty. */
  expanded(name: string, depth = 0): string {
    if (depth > 20) return '';
    const value =
      name === 'mydomain' && !this.has('mydomain')
        ? this.expanded('myhostname', depth + 1).replace(/^[^.]*\.?/, '')
        : this.parameter(name).value;
    return value.replace(/\$(?:\{(\w+)\}|\((\w+)\)|(\w+))/g, (_, a, b, c) =>
      this.expanded(String(a ?? b ?? c), depth + 1),
    );
  }
}
