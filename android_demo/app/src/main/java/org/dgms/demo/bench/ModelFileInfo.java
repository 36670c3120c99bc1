package org.dgms.demo.bench;

import java.io.File;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.Map;

/** Which file was timed. Immutable. */
public final class ModelFileInfo {
  private final String name;
  private final String title;
  private final String path;
  private final long bytes;
  private final String sha256;

  private ModelFileInfo(String name, String title, String path, long bytes, String sha256) {
    this.name = name;
    this.title = title;
    this.path = path;
    this.bytes = bytes;
    this.sha256 = sha256;
  }

  /** Reads a file's size and sum. */
  static ModelFileInfo of(String name, String title, File file) throws IOException {
    return new ModelFileInfo(name, title, file.getPath(), file.length(), Files.sha256(file));
  }

  /** Short name. */
  public String name() {
    return name;
  }

  /** A name for people; the short name if there is none. */
  public String title() {
    return title == null ? name : title;
  }

  /** Where the file was, or null if unknown. */
  public String path() {
    return path;
  }

  /** Its size in bytes. */
  public long bytes() {
    return bytes;
  }

  /** SHA-256 of its content, in hexadecimal. */
  public String sha256() {
    return sha256;
  }

  Map<String, Object> toMap() {
    Map<String, Object> map = new LinkedHashMap<String, Object>();
    map.put("name", name);
    if (title != null) {
      map.put("title", title);
    }
    if (path != null) {
      map.put("path", path);
    }
    map.put("bytes", bytes);
    map.put("sha256", sha256);
    return map;
  }

  static ModelFileInfo fromJson(JsonFields json) throws FormatException {
    return new ModelFileInfo(
        json.text("name"),
        json.textOrNull("title"),
        json.textOrNull("path"),
        json.integer("bytes"),
        json.text("sha256"));
  }
}
