/** An audit as a person reads it. */
import type { Audit, Finding, Reach, Tri } from './evidence.js';

const REACH: Readonly<Record<Reach, string>> = {
  world: 'other hosts can connect to it',
  loopback: 'only this host can connect to it',
  nobody: 'takes nothing from the network',
  unknown: 'not known who can connect to it',
};

const runs: Readonly<Record<Tri, string>> = {
  yes: 'runs now',
  no: 'does not run now',
  unknown: 'not known whether it runs',
};
const boots: Readonly<Record<Tri, string>> = {
  yes: 'will start at the next boot',
  no: 'will not start at the next boot',
  unknown: 'nothing known that starts it at boot',
};

const block = (title: string, commands: readonly string[]): string[] =>
  commands.length === 0 ? [] : [`   ${title}:`, ...commands.map((command) => `     ${command}`)];

const finding = (each: Finding): string[] => [
  `${each.alarming ? '!' : ' '}  ${each.title}${each.version === undefined ? '' : ` ${each.version}`}: ${runs[each.runs]}, ${boots[each.boots]}; ${REACH[each.reach]}`,
  ...each.known.map((line) => `     ${line}`),
  ...each.evidence.map(({ where, text }) => `     ${where}: ${text}`),
  ...(each.alarming || each.runs === 'yes' || each.boots === 'yes'
    ? [
        ...block('to stop it', each.remedy.stop),
        ...block('to keep it stopped', each.remedy.keep),
        ...block('to take that back', each.remedy.undo),
      ]
    : []),
];

export const renderAudit = (audit: Audit): string => {
  const alarms = audit.findings.filter(({ alarming }) => alarming).length;
  const verdict =
    audit.findings.length === 0
      ? 'No mail server was found.'
      : alarms === 0
        ? 'No mail server was found that other hosts can reach.'
        : `${alarms === 1 ? 'A mail server was' : `${alarms} mail servers were`} found that other hosts can reach, or may. If nobody needs ${alarms === 1 ? 'it' : 'them'}, stop ${alarms === 1 ? 'it' : 'them'}.`;
  return [
    `System: ${audit.systemName}`,
    verdict,
    ...audit.findings.flatMap((each) => ['', ...finding(each)]),
    ...(audit.blind.length === 0 ? [] : ['', 'Not looked at:', ...audit.blind.map((each) => `   ${each}`)]),
  ].join('\n');
};
