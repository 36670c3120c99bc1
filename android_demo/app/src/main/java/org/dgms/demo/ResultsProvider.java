package org.dgms.demo;

import android.content.ContentProvider;
import android.content.ContentValues;
import android.database.Cursor;
import android.database.MatrixCursor;
import android.net.Uri;
import android.os.ParcelFileDescriptor;
import android.provider.OpenableColumns;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.Charset;
import java.util.List;
import org.dgms.demo.bench.ResultStore;

/**
 * Read-only access to single results for the apps that they are shared with: {@code
 * .../json/NAME.json} is the file itself, {@code .../csv/NAME.csv} the runs of the same file as a
 * table. The manifest keeps everyone out who was not given a grant.
 */
public final class ResultsProvider extends ContentProvider {
  static final String AUTHORITY = "org.dgms.demo.results";
  static final String JSON_TYPE = "application/json";
  static final String CSV_TYPE = "text/csv";

  private static final String JSON = "json";
  private static final String CSV = "csv";

  /** The address of a result. */
  static Uri json(File result) {
    return uri(JSON, result.getName());
  }

  /** The address of a result's runs as a table. */
  static Uri csv(File result) {
    return uri(CSV, result.getName().replaceAll("\\.json$", "") + ".csv");
  }

  private static Uri uri(String kind, String name) {
    return new Uri.Builder()
        .scheme("content")
        .authority(AUTHORITY)
        .appendPath(kind)
        .appendPath(name)
        .build();
  }

  @Override
  public boolean onCreate() {
    return true;
  }

  @Override
  public String getType(Uri uri) {
    return uri.getPathSegments().size() == 2 && CSV.equals(uri.getPathSegments().get(0))
        ? CSV_TYPE
        : JSON_TYPE;
  }

  @Override
  public ParcelFileDescriptor openFile(Uri uri, String mode) throws FileNotFoundException {
    if (!"r".equals(mode)) {
      throw new SecurityException(
          "results can only be read (mode r). Received: mode " + mode + " for " + uri);
    }
    return ParcelFileDescriptor.open(content(uri), ParcelFileDescriptor.MODE_READ_ONLY);
  }

  @Override
  public Cursor query(
      Uri uri, String[] columns, String selection, String[] arguments, String order) {
    String[] shown =
        columns == null
            ? new String[] {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE}
            : columns;
    MatrixCursor cursor = new MatrixCursor(shown, 1);
    Object[] row = new Object[shown.length];
    try {
      File file = content(uri);
      for (int i = 0; i < shown.length; i++) {
        if (OpenableColumns.DISPLAY_NAME.equals(shown[i])) {
          row[i] = uri.getLastPathSegment();
        } else if (OpenableColumns.SIZE.equals(shown[i])) {
          row[i] = file.length();
        }
      }
      cursor.addRow(row);
    } catch (FileNotFoundException e) {
      return cursor; // No such result: no row.
    }
    return cursor;
  }

  private File content(Uri uri) throws FileNotFoundException {
    List<String> path = uri.getPathSegments();
    boolean csv = path.size() == 2 && CSV.equals(path.get(0));
    // The names that ResultStore gives; nothing with a slash, so nothing outside of its folder.
    if (path.size() != 2
        || (!csv && !JSON.equals(path.get(0)))
        || !path.get(1).matches("[A-Za-z0-9_-][A-Za-z0-9._-]*")) {
      throw new FileNotFoundException(
          "a result is json/NAME.json or csv/NAME.csv. Received: " + uri);
    }
    String name = csv ? path.get(1).replaceAll("\\.csv$", "") + ".json" : path.get(1);
    File file = new File(Results.store(getContext()).folder(), name);
    if (!file.isFile()) {
      throw new FileNotFoundException("there is no such result. Received: " + uri);
    }
    return csv ? table(file, path.get(1)) : file;
  }

  /** Writes the table anew each time: it is small, and the cache may have been cleared. */
  private File table(File result, String name) throws FileNotFoundException {
    File folder = new File(getContext().getCacheDir(), CSV);
    File partial = new File(folder, "." + name + "." + Thread.currentThread().getId());
    File table = new File(folder, name);
    try {
      if (!folder.isDirectory() && !folder.mkdirs()) {
        throw new IOException("cannot make the folder " + folder);
      }
      try (OutputStream out = new FileOutputStream(partial)) {
        out.write(ResultStore.read(result).toCsv().getBytes(Charset.forName("UTF-8")));
      }
      if (!partial.renameTo(table)) {
        throw new IOException("cannot rename " + partial + " to " + name);
      }
      return table;
    } catch (IOException e) {
      FileNotFoundException outer = new FileNotFoundException(name + ": " + e.getMessage());
      outer.initCause(e);
      throw outer;
    }
  }

  @Override
  public Uri insert(Uri uri, ContentValues values) {
    throw readOnly(uri);
  }

  @Override
  public int update(Uri uri, ContentValues values, String selection, String[] arguments) {
    throw readOnly(uri);
  }

  @Override
  public int delete(Uri uri, String selection, String[] arguments) {
    throw readOnly(uri);
  }

  private static UnsupportedOperationException readOnly(Uri uri) {
    return new UnsupportedOperationException(
        "results can only be read. Received: a change of " + uri);
  }
}
