//! Results as Apache Parquet: the same columns as the CSV, optional where a value may not be known.

use std::io::Write;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::table::{COLUMNS, Row, Type, Value};

/// Rows of a group: a reader takes one at a time.
const GROUP: usize = 100_000;

/// Writes all rows.
pub fn write(rows: &[Row], to: impl Write + Send) -> Result<(), ParquetError> {
    let columns: String = COLUMNS
        .iter()
        .map(|column| match column.of {
            Type::Text => format!("optional binary {} (UTF8);\n", column.name),
            Type::Whole => format!("optional int64 {};\n", column.name),
            Type::Real => format!("optional double {};\n", column.name),
        })
        .collect();
    let schema = Arc::new(parse_message_type(&format!("message result {{\n{columns}}}"))?);
    let properties = WriterProperties::builder().set_created_by("lightrail-analysis".to_owned()).build();
    let mut file = SerializedFileWriter::new(to, schema, Arc::new(properties))?;
    for rows in rows.chunks(GROUP) {
        let mut group = file.next_row_group()?;
        for column in COLUMNS {
            let Some(mut writer) = group.next_column()? else { break };
            let values: Vec<Value> = rows.iter().map(column.value).collect();
            let levels: Vec<i16> = values.iter().map(|value| i16::from(*value != Value::None)).collect();
            match column.of {
                Type::Text => {
                    let texts: Vec<ByteArray> = values
                        .into_iter()
                        .filter_map(|v| {
                            if let Value::Text(text) = v { Some(text.into_bytes().into()) } else { None }
                        })
                        .collect();
                    writer.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None)?;
                }
                Type::Whole => {
                    let numbers: Vec<i64> = values
                        .iter()
                        .filter_map(|v| if let Value::Whole(n) = v { Some(*n) } else { None })
                        .collect();
                    writer.typed::<Int64Type>().write_batch(&numbers, Some(&levels), None)?;
                }
                Type::Real => {
                    let numbers: Vec<f64> = values
                        .iter()
                        .filter_map(|v| if let Value::Real(n) = v { Some(*n) } else { None })
                        .collect();
                    writer.typed::<DoubleType>().write_batch(&numbers, Some(&levels), None)?;
                }
            }
            writer.close()?;
        }
        group.close()?;
    }
    file.close()?;
    Ok(())
}
