package org.dgms.demo.bench;

/** The check that every reader of our files begins with. */
final class SchemaVersion {
  private SchemaVersion() {}

  /**
   * Refuses files of another kind or another major version; a newer minor version only adds optional fields.
   *
   * @throws FormatException saying what the file is and what is read here
   */
  static void check(JsonFields root, String schema, int major) throws FormatException {
    String found = root.text("schema");
    if (!found.equals(schema)) {
      throw new FormatException("schema must be \"" + schema + "\". Received: \"" + found + "\"");
    }
    String version = root.text("schema_version");
    if (!version.matches(major + "\\.[0-9]+")) {
      throw new FormatException(
          "schema_version must be " + major + ".x, which is what this program reads. Received: \"" + version
              + "\"");
    }
  }
}
