/** The package has no types of its own. */
declare module 'saslprep' {
  /** Throws on prohibited, bidirectional or unassigned characters, and on text that is mapped to nothing. */
  export default function saslprep(text: string, options?: { readonly allowUnassigned?: boolean }): string;
}
