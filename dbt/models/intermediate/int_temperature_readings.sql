{{ union_sources('temperature_readings') }}
