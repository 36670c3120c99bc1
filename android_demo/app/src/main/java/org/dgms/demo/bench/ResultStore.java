package org.dgms.demo.bench;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/** A folder of results, one JSON file each. Files of other names are left alone. */
public final class ResultStore {
  private static final String SUFFIX = ".json";
  private static final int MAX_NAMES = 10000;

  private final File folder;

  /**
   * A store in that folder, which is made by the first {@link #save}.
   *
   * @param folder where the files are
   */
  public ResultStore(File folder) {
    this.folder = folder;
  }

  /** Where the files are. */
  public File folder() {
    return folder;
  }

  /**
   * Writes a result under a new name, such as {@code 20260531T160509Z-shapes_w4.json}; readers see it whole
   * or not at all.
   *
   * @return the file
   * @throws IOException it could not be written, such as for lack of space
   */
  public synchronized File save(BenchmarkResult result) throws IOException {
    String time = result.created().replaceAll("[^0-9TZ]", "");
    String model = result.model().name().replaceAll("[^A-Za-z0-9._-]", "_");
    for (int i = 1; i <= MAX_NAMES; i++) {
      File file = new File(folder, time + "-" + model + (i == 1 ? "" : "-" + i) + SUFFIX);
      if (!file.exists()) {
        return write(file, result);
      }
    }
    throw new IOException("the folder must have room for one more name. Received: " + folder);
  }

  /**
   * Writes a result under a given name, over any file of that name.
   *
   * @param fileName letters, digits, {@code . _ -}, ending in {@code .json} (which is added where it is
   *     missing)
   * @return the file
   * @throws IllegalArgumentException the name breaks its rule
   * @throws IOException it could not be written
   */
  public synchronized File save(BenchmarkResult result, String fileName) throws IOException {
    if (!fileName.matches("[A-Za-z0-9_-][A-Za-z0-9._-]*")) {
      throw new IllegalArgumentException(
          "a result's file name must be of letters, digits, . _ -, and not begin with a dot. Received: \""
              + fileName + "\"");
    }
    return write(new File(folder, fileName.endsWith(SUFFIX) ? fileName : fileName + SUFFIX), result);
  }

  private static File write(File file, BenchmarkResult result) throws IOException {
    Files.writeAtomically(file, result.toJson().getBytes(StandardCharsets.UTF_8));
    return file;
  }

  /**
   * Every result of the folder, newest first; damaged files are listed too, each with its problem.
   *
   * @return empty for an empty or missing folder
   */
  public List<Entry> list() {
    List<Entry> entries = new ArrayList<Entry>();
    File[] files = folder.listFiles();
    if (files != null) {
      for (File file : files) {
        if (file.isFile() && file.getName().endsWith(SUFFIX) && !file.getName().startsWith(".")) {
          entries.add(entry(file));
        }
      }
    }
    Collections.sort(entries, new NewestFirst());
    return entries;
  }

  private static Entry entry(File file) {
    try {
      return new Entry(file, read(file), null);
    } catch (IOException e) {
      return new Entry(file, null, e.getMessage());
    }
  }

  /**
   * Reads one result.
   *
   * @throws FormatException the file is no result; the message names it and the place in it
   * @throws IOException it cannot be read
   */
  public static BenchmarkResult read(File file) throws IOException {
    try {
      return BenchmarkResult.fromJson(Files.readText(file));
    } catch (FormatException e) {
      throw new FormatException(file.getName() + ": " + e.getMessage(), e);
    }
  }

  /**
   * Deletes one result.
   *
   * @throws IllegalArgumentException the file is not in this folder
   * @throws IOException it could not be deleted
   */
  public void delete(File file) throws IOException {
    if (!folder.getAbsoluteFile().equals(file.getAbsoluteFile().getParentFile())) {
      throw new IllegalArgumentException("only files of " + folder + " are deleted here. Received: " + file);
    }
    if (!file.delete() && file.exists()) {
      throw new IOException("the file could not be deleted: " + file);
    }
  }

  /** One file of the store. */
  public static final class Entry {
    private final File file;
    private final BenchmarkResult result;
    private final String problem;

    Entry(File file, BenchmarkResult result, String problem) {
      this.file = file;
      this.result = result;
      this.problem = problem;
    }

    /** The file. */
    public File file() {
      return file;
    }

    /** Its content, or null if it is damaged. */
    public BenchmarkResult result() {
      return result;
    }

    /** What is wrong with it, or null. */
    public String problem() {
      return problem;
    }

    private String time() {
      return result == null ? "" : result.created();
    }
  }

  /** By the results' own time; damaged files, whose time is unknown, come last. */
  private static final class NewestFirst implements Comparator<Entry> {
    @Override
    public int compare(Entry a, Entry b) {
      int byTime = b.time().compareTo(a.time());
      return byTime != 0 ? byTime : b.file.getName().compareTo(a.file.getName());
    }
  }
}
