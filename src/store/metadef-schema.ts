// Definitions of metadata, which the image service keeps for everybody, in the global database. Columns as in
// global-schema.ts. All that a namespace holds is in its row: it is small, and changed as a whole.

export interface MetadefTables {
  metadef_namespaces: {
    /** Unique over all projects. */
    name: string;
    /** Project. */
    owner: string;
    visibility: 'public' | 'private';
    protected: number;
    display_name: string | null;
    description: string | null;
    /** By kind, a list of `{name, body, createdAt, updatedAt}`; see control/images/metadefs.ts. */
    content_json: string;
    created_at: number;
    updated_at: number;
  };
}
